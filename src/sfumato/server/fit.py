"""How a ControlNet is fitted: optimiser, average of the weights, precision, checkpoints. What a loss is, its caller says.

The noise, the timesteps and the order of the records are functions of (seed, step), so a run that was killed ends in the same
weights as one that was not; a checkpoint is one safetensors file, renamed into place.

Of several processes each computes its share of a loss, gradients are summed, and all make the same step: what one process would make,
but for the order in which float32 is summed. The main one alone writes and is asked to show something. Any number may go on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sfumato.core import checkpoint, processes, training
from sfumato.core.device import autocast
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts
from sfumato.diffusion.base import Base
from sfumato.diffusion.schedule import CLEAN

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How to train.

    ``steps`` are optimiser steps; a batch is ``batch * accumulation`` records; every t lies above n and above ``above``.
    """

    steps: int = 450
    batch: int = 32
    accumulation: int = 1
    lr: float = 3e-4
    warmup: int = 50
    ema: float = 0.99
    weight_decay: float = 1e-2
    precision: str = "no"
    seed: int = 0
    held_out: int = 32
    above: int = CLEAN
    checkpoint_every: int = 100
    validate_every: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulation", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.precision not in ("no", "bf16", "fp16"):
            raise UserError(f"precision {self.precision!r}; expected no, bf16 or fp16")
        if self.held_out < 0:
            raise UserError(f"held_out {self.held_out} must be at least 0")
        if self.above < CLEAN:
            raise UserError(f"above {self.above}", expected=f"a step of the schedule, or {CLEAN} for all of them")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema {self.ema} must lie in [0, 1)")

    def identity(self) -> dict[str, Any]:
        """What decides the weights: everything but how often something is saved or shown."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint_every", "validate_every", "tensorboard")}


def fit(
    model: Any,
    base: Base,
    work: Path,
    config: TrainConfig,
    *,
    run: str,
    loss: Callable[[Any, int, int], torch.Tensor],
    held_out: Callable[[Any], float | None] = lambda model: None,
    null: NullContexts | None = None,
    shared: bool = False,
    resume: bool = True,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    validate: Callable[[Any, int], None] | None = None,
) -> Any:
    """Fit ``model`` and return it averaged, frozen, in evaluation mode; run again after a kill to go on.

    Args:
        model: a ControlNet whose gradients are wanted.
        base: what it controls.
        work: the folder of its checkpoint and logs.
        config: how to train.
        run: what a checkpoint must match to be resumed.
        loss: ``loss(model, step, part)``, the loss of batch ``part`` of ``step``; must depend on nothing but these and ``run``.
        held_out: the loss on what is kept aside, at every checkpoint.
        null: contexts that never change, entered around every loss.
        shared: ``loss`` is this process's share, and the shares' sum is the loss; else each process computes the whole.
        resume: go on from a checkpoint of ``run``; without it, such a one is started over.
        overwrite: pass over a checkpoint of another run; it is lost with the next that is written.
        on_step: told about every step, in the main process.
        validate: called with the averaged ControlNet and the step, every ``validate_every`` steps, in the main process.

    Raises:
        UserError: a checkpoint of another run, or a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C, in any of the processes; the step is finished first, and its checkpoint written.
    """
    device, main = base.unet.device, processes.is_main()
    model = model.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    first = _resume(work, run, model, average, optimiser, scaler, resume=resume, overwrite=overwrite)
    processes.wait()  # nobody writes what another has still to read
    writer = _writer(work) if config.tensorboard and main else None
    weight = 1 / config.accumulation / (1 if shared else processes.count())

    def share(step: int, part: int) -> torch.Tensor:
        with autocast(device, config.precision), null.entered() if null else nullcontext():
            return loss(model, step, part) * weight

    def save(done: int) -> None:
        _checkpoint(work, run, done, model, average, optimiser, scaler)

    def tell(progress: Progress) -> None:
        done = progress.step
        if done % config.checkpoint_every == 0 or done == config.steps:
            progress = replace(progress, held_out_loss=held_out(model))
        if not main:
            return
        if done == config.steps:
            save(done)  # who runs it again is told at once
        if writer is not None:
            writer.add_scalar("loss/train", progress.loss, done)
            if progress.held_out_loss is not None:
                writer.add_scalar("loss/held_out_records", progress.held_out_loss, done)
        if validate is not None and config.validate_every and done % config.validate_every == 0:
            validate(_averaged(base, average), done)
        on_step(progress)

    training.fit(
        optimiser, share, first=first, steps=config.steps, parts=config.accumulation, scaler=scaler, clip=1.0, joint=True,
        rate=lambda step: config.lr * rate(step, config),
        after=lambda done, _: _follow(average, model, min(config.ema, done / (9 + done))),
        save=save, every=config.checkpoint_every, tell=tell,
        fix="start again in another --out with a lower --lr or --precision no",
    )  # fmt: skip
    if writer is not None:
        writer.close()
    return _averaged(base, average)


def rate(step: int, config: TrainConfig) -> float:
    """Warm-up, then a cosine to zero."""
    return training.warmed(step, config.steps, warmup=config.warmup)


@torch.no_grad()
def _follow(average: dict[str, torch.Tensor], model: Any, decay: float) -> None:
    for name, value in model.state_dict().items():
        average[name].lerp_(value.to(average[name]), 1 - decay)


def _averaged(base: Base, average: dict[str, torch.Tensor]) -> Any:
    model = nets.new_controlnet(base, generator=generator(0))
    model.load_state_dict(average)
    return model.eval().requires_grad_(False).to(base.unet.device)


def _checkpoint(
    work: Path, run: str, step: int, model: Any, average: dict[str, torch.Tensor], optimiser: Any, scaler: Any
) -> None:  # fmt: skip
    state = {f"model.{k}": v for k, v in model.state_dict().items()} | {f"average.{k}": v for k, v in average.items()}
    if scaling := scaler.state_dict():
        state["scaling"] = torch.tensor([scaling["scale"], scaling["_growth_tracker"]], dtype=torch.float64)
    checkpoint.save(work / CHECKPOINT, run, step, state, optimiser, private=True)


def _resume(
    work: Path, run: str, model: Any, average: dict[str, torch.Tensor], optimiser: Any, scaler: Any, *, resume: bool, overwrite: bool
) -> int:  # fmt: skip
    state = checkpoint.load(work / CHECKPOINT, run, overwrite=overwrite)
    if state is None or not resume:
        return 0
    try:
        model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
        for name in average:
            average[name].copy_(state[f"average.{name}"])
        checkpoint.remember(optimiser, state)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise checkpoint.damaged(work / CHECKPOINT, "tensors are missing or of other shapes") from error
    if "scaling" in state and scaler.is_enabled():
        scale, tracked = state["scaling"].tolist()
        scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": int(tracked)})
    return int(state["step"])


def _writer(work: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(work / "logs"))
