"""A server's step on sealed records against the usual centralised step, which encodes pictures and
captions every time.

Both loops run in one process, in turns, with the same precision and batch; what is compared is the
median step of each. The usual loop is written from scratch after what such scripts do: VAE and text
encoder in every step, an RGB pyramid as the condition's path, the libraries' default attention and
memory layout.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from sfumato.core.device import autocast
from sfumato.core.progress import Tell
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts, suit, usual
from sfumato.diffusion.base import Base
from sfumato.records.reader import Records
from sfumato.server.train import objective


def measure(
    base: Base, *, batch: int = 32, rounds: int = 3, steps: int = 4, precision: str = "no", seed: int = 0,
    on_step: Tell = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Median seconds of a step of both loops, and their ratio (above 1: ours is faster).

    Args:
        base: on whose shapes; its weights do not matter. Its UNet's layout is changed and given
            back.
        batch: pictures in a step.
        rounds: how often the two take turns.
        steps: of each turn, after one that is not timed.
        precision: "no" or "bf16", of both.
        seed: of the noise that stands for pictures.
        on_step: called with (steps done, in all).
    """
    loops = {"usual": _usual(base, batch, seed), "sealed": _sealed(base, batch, seed)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peak: dict[str, int] = {}
    done, total = 0, rounds * len(loops) * (steps + 1)
    for _ in range(rounds):
        for name, (prepare, step, optimiser, model) in loops.items():
            prepare()
            if base.unet.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(base.unet.device)
            for number in range(steps + 1):
                started = time.perf_counter()
                with autocast(base.unet.device, precision):
                    loss = step()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                _wait(base.unet.device)
                if number:
                    seconds[name].append(time.perf_counter() - started)
                done += 1
                on_step(done, total)
            if base.unet.device.type == "cuda":
                peak[name] = torch.cuda.max_memory_allocated(base.unet.device)
    _ours(base)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "server_ratio": medians["usual"] / medians["sealed"],
        "seconds_per_step": medians,
        "spread": {name: [min(values), max(values)] for name, values in seconds.items()},
        **({"peak_bytes": peak} if peak else {}),
        "batch": batch,
        "precision": precision,
        "pixels": base.size,
        "base": base.public_name,
        "threads": torch.get_num_threads(),
    }


def _wait(device: torch.device) -> None:
    """Until a device that works on its own has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Loop = tuple[Callable[[], None], Callable[[], torch.Tensor], Any, Any]


def _usual(base: Base, batch: int, seed: int) -> Loop:
    draws = generator(seed)
    images, conditions = (torch.rand(batch, 3, base.size, base.size, generator=draws) for _ in range(2))
    device = base.unet.device
    images, conditions = (images * 2 - 1).to(device), conditions.to(device)
    captions = [f"picture number {i}" for i in range(batch)]
    model = nets.usual_controlnet(base)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> torch.Tensor:
        with torch.no_grad():
            z_0 = base.vae.encode(images).latent_dist.sample(draws).float() * base.vae.config.scaling_factor
            context = base.embed(captions).to(device)
        t = torch.randint(0, base.schedule.steps, (batch,), generator=draws)
        eps = torch.randn(z_0.shape, generator=draws).to(device)
        z_t, t = base.schedule.add_noise(z_0, t, eps), t.to(device)
        # Not ``controlled_eps``: a usual script leaves the memory layout to the libraries.
        down, mid = model(z_t, t, context, controlnet_cond=conditions, return_dict=False)
        return (base.predict_noise(z_t, t, context, (down, mid), dtype=torch.float32) - eps).square().mean()

    def prepare() -> None:
        base.unet.to(memory_format=torch.contiguous_format)
        base.vae.to(memory_format=torch.contiguous_format)
        usual(base.unet)

    return prepare, step, optimiser, model


def _sealed(base: Base, batch: int, seed: int) -> Loop:
    draws = generator(seed, 1)
    z_n, c_m = (torch.randn(batch, *base.latent_shape, generator=draws) for _ in range(2))
    records = Records(z_n, c_m, torch.full((batch,), 600), torch.full((batch,), 200), (), ())
    model = nets.new_controlnet(base, generator=generator(seed, 2))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    null = NullContexts(base.unet, base.empty_context, model)

    def step() -> torch.Tensor:
        with null.entered():
            return objective(model, base, records, torch.arange(batch), None, draws)

    return lambda: _ours(base), step, optimiser, model


def _ours(base: Base) -> None:
    base.unet.to(memory_format=torch.channels_last)
    base.vae.to(memory_format=torch.channels_last)
    suit(base.unet, side=base.side, device=base.unet.device.type)
