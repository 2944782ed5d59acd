"""What the tests of adapters share: a task, an adapter that acts, and what a base computes under it."""

from __future__ import annotations

import dataclasses

import torch

from sfumato.adapters.dreambooth import Task
from sfumato.adapters.lora import Adapter, LoraSettings, initial, linears
from sfumato.core.randomness import generator


def task_of(seed, *, count=3, prior=True):
    """Random latents of a person, and of a class."""
    person, of_class = torch.randn((count, 4, 8, 8), generator=generator(seed)), torch.randn((4, 4, 8, 8), generator=generator(seed, 1))
    task = Task(latents=person, prompts=("a sks peep",) * count, seed=seed)
    return dataclasses.replace(task, class_latents=of_class, class_prompt="a peep") if prior else task


def adapter_of(base, seed=0, **settings):
    """An adapter that does something: neither factor is zero."""
    chosen = LoraSettings(**{"rank": 3, "lora_alpha": 6.0, **settings})
    first = initial(linears(base, chosen), chosen, generator=generator(seed))
    draws = generator(seed, 1)
    factors = {name: (a, torch.randn(b.shape, generator=draws)) for name, (a, b) in first.factors.items()}
    return Adapter(factors=factors, alphas=first.alphas)


def output(base, prompt="a cat"):
    """The UNet's output for fixed noise under a prompt."""
    z_t, t = torch.randn((2, 4, 8, 8), generator=generator(7)), torch.tensor([10, 900])
    with torch.no_grad():
        return base.unet(z_t, t, encoder_hidden_states=base.embed([prompt, prompt])).sample
