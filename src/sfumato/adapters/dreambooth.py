"""What DreamBooth fine-tuning asks of a frozen base: the data of one adapter, the draws of one step, and the loss.

    L = mean over a batch of the person of |eps_hat - eps|^2  +  prior_weight * the same over a batch of the class

Both ways of training, one adapter by PEFT and many stacked, draw and lose by these very functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sfumato.core.device import autocast
from sfumato.core.errors import UserError
from sfumato.core.randomness import evenly, generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.schedule import CLEAN


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """How to fine-tune; the defaults suit the tiny base (SD 1.x wants ``lr`` 1e-4).

    Attributes:
        steps: optimiser steps, at a constant rate: an adapter kept at step k is one that was trained for k steps.
        batch: pictures of the person in a step, drawn evenly.
        prior_batch: pictures of the class beside them, where the task has some.
        prior_weight: the weight of the class pictures' loss.
        lr, weight_decay: AdamW's.
        clip: the gradient's largest norm.
        precision: ``no``, or ``bf16`` for autocast.
        checkpoint_every, validate_every: steps; 0 for never. They do not touch the weights.
    """

    steps: int = 200
    batch: int = 8
    prior_batch: int = 2
    prior_weight: float = 1.0
    lr: float = 3e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    precision: str = "no"
    checkpoint_every: int = 50
    validate_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "prior_batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}", expected="at least 1")
        for name in ("prior_weight", "weight_decay", "checkpoint_every", "validate_every"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)}", expected="a number from 0 up")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)}", expected="a number above 0")
        if self.precision not in ("no", "bf16"):
            raise UserError(f"precision {self.precision!r}", expected="no or bf16")

    def identity(self) -> dict[str, Any]:
        """What decides the weights."""
        return {key: value for key, value in asdict(self).items() if not key.endswith("_every")}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Task:
    """The data of one adapter.

    Attributes:
        latents: of the person's pictures, ``(N, 4, h, w)``.
        prompts: one for each picture.
        seed: of this adapter's own first weights, order, steps and noise.
        class_latents: of pictures of the class, ``(M, 4, h, w)``, or None for no prior preservation.
        class_prompt: what they show.
        lr: this adapter's own rate, or None for the configuration's.
    """

    latents: torch.Tensor
    prompts: tuple[str, ...]
    seed: int
    class_latents: torch.Tensor | None = None
    class_prompt: str = ""
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.latents.ndim != 4 or not len(self.latents):
            raise UserError(f"latents of shape {tuple(self.latents.shape)}", expected="(N, 4, h, w) with at least one picture")
        if len(self.prompts) != len(self.latents):
            raise UserError(f"{len(self.prompts)} prompts for {len(self.latents)} pictures", expected="one for each")
        if self.class_latents is not None and (not len(self.class_latents) or self.class_latents.shape[1:] != self.latents.shape[1:]):
            raise UserError(f"class latents of shape {tuple(self.class_latents.shape)}", expected=f"(M, *{tuple(self.latents.shape[1:])})")

    @property
    def texts(self) -> tuple[str, ...]:
        """The different prompts, the class's last."""
        return (*dict.fromkeys(self.prompts), *(() if self.class_latents is None else (self.class_prompt,)))

    def identity(self) -> str:
        """SHA-256 over all of it. It says something of the pictures: never write it where they must not be confirmed."""
        digest = hashlib.sha256(json.dumps([self.prompts, self.seed, self.class_prompt, self.lr]).encode())
        for part in (self.latents, self.class_latents):
            digest.update(b"-" if part is None else part.double().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """The draws of one step of K adapters, each with G = batch + prior_batch rows, its person's pictures first.

    Attributes:
        z_0, eps: ``(K G, 4, h, w)``.
        t: ``(K G,)``.
        text: ``(K G,)``, which of its own adapter's texts each row reads.
    """

    z_0: torch.Tensor
    eps: torch.Tensor
    t: torch.Tensor
    text: torch.Tensor


def class_latents(base: Base, prompt: str, count: int, *, generator: torch.Generator, on_step: Callable[[], None] = lambda: None) -> Any:
    """Latents ``(count, 4, h, w)`` of what the base itself draws for ``prompt``: what it must not forget."""
    parts = [sample(base, [prompt] * min(16, count - i), generator=generator, on_step=on_step) for i in range(0, count, 16)]
    return torch.cat(parts)


def draw(base: Base, tasks: list[Task], config: FinetuneConfig, step: int) -> Step:
    """The draws of ``step``, of a generator of each task's own seed: they do not depend on who else trains."""
    rows = [_draw_one(base, task, config, step) for task in tasks]
    device = base.unet.device
    z_0, eps, t, text = (torch.cat(part).to(device) for part in zip(*rows, strict=True))
    return Step(z_0=z_0.to(base.unet.dtype), eps=eps.to(base.unet.dtype), t=t, text=text)


def _draw_one(base: Base, task: Task, config: FinetuneConfig, step: int) -> tuple[torch.Tensor, ...]:
    draws = generator(task.seed, step)
    picked = evenly(len(task.latents), config.batch, draws)
    z_0, text = task.latents[picked], torch.tensor([task.texts.index(task.prompts[i]) for i in picked.tolist()])
    if task.class_latents is not None:
        of_class = evenly(len(task.class_latents), config.prior_batch, draws)
        z_0 = torch.cat([z_0, task.class_latents[of_class]])
        text = torch.cat([text, torch.full((config.prior_batch,), len(task.texts) - 1)])
    # Each part has its steps stratified over itself.
    sizes = [config.batch] + ([config.prior_batch] if task.class_latents is not None else [])
    t = torch.cat([draw_t(torch.full((size,), CLEAN), base.schedule.steps, generator=draws) for size in sizes])
    return z_0, torch.randn(z_0.shape, generator=draws), t, text


def tokens_of(base: Base, tasks: list[Task]) -> torch.Tensor:
    """``(K, U, L)``: every task's texts as the tokenizer numbers them, the last repeated where others have more."""
    most = max(len(task.texts) for task in tasks)
    texts = [text for task in tasks for text in (*task.texts, *[task.texts[-1]] * (most - len(task.texts)))]
    length = base.tokenizer.model_max_length
    ids = base.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids
    return ids.view(len(tasks), most, length).to(base.text_encoder.device)


def contexts_of(base: Base, tokens: torch.Tensor) -> torch.Tensor:
    """``(K, U, L)`` tokens to ``(K, U, L, D)`` contexts, all in one pass."""
    return base.text_encoder(tokens.flatten(0, 1)).last_hidden_state.unflatten(0, tokens.shape[:2])


def losses(base: Base, drawn: Step, contexts: torch.Tensor, config: FinetuneConfig) -> torch.Tensor:
    """Every adapter's loss, ``(K,)``, in one forward pass of the UNet.

    Args:
        base: carrying the adapters.
        drawn: the step's draws.
        contexts: ``(K, U, L, D)``.
        config: its batch, prior weight and precision.
    """
    k, device = len(contexts), drawn.z_0.device
    owner = torch.arange(k, device=device).repeat_interleave(len(drawn.t) // k)
    z_t = base.schedule.add_noise(drawn.z_0, drawn.t, drawn.eps).contiguous(memory_format=torch.channels_last)
    context = contexts[owner, drawn.text].to(z_t.dtype)
    with autocast(device, config.precision):
        eps_hat = base.predict_noise(z_t, drawn.t, context, dtype=z_t.dtype)
    each = (eps_hat - drawn.eps).square().mean(dim=(1, 2, 3)).view(k, -1)
    person, of_class = each[:, : config.batch].mean(1), each[:, config.batch :]
    return person + config.prior_weight * of_class.mean(1) if of_class.shape[1] else person
