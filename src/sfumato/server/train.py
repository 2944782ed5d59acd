"""Train a ControlNet from records alone. The server never held a picture, a caption or an owner's noise.

The noise, the timesteps and the order of the records are functions of (seed, step), so a run that was killed ends in the same
weights as one that was not; a checkpoint is one safetensors file, renamed into place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sfumato import __version__
from sfumato.core.artifact import from_bytes, metadata_of, sha256, to_bytes, write_atomic
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t, eps_from, renoise, sealed_loss
from sfumato.records.reader import Records, batch_index

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How to train. ``steps`` are optimiser steps; a batch is ``batch * accumulation`` records."""

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
    checkpoint_every: int = 100
    validate_every: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulation", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"precision {self.precision!r}; expected no, bf16 or fp16")
        if self.held_out < 0:
            raise ValueError(f"held_out {self.held_out} must be at least 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema {self.ema} must lie in [0, 1)")


@dataclass(frozen=True)
class Captioned:
    """Captions for the arms that are not private (``public``, ``centralised``): ``context`` ``(N, L, D)``, aligned with the records."""

    context: torch.Tensor
    dropped: float = 0.1

    def take(self, index: torch.Tensor) -> Captioned:
        """The captions of the records at ``index``."""
        return Captioned(self.context[index], self.dropped)


@dataclass
class Progress:
    """What a callback is told after a step."""

    step: int
    steps: int
    loss: float
    held_out_loss: float | None


def train(
    records: Records,
    base: Base,
    out: Path,
    config: TrainConfig,
    *,
    captions: Captioned | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
    validate: Callable[[Any, int], None] | None = None,
) -> Path:
    """Train on ``records`` and write a ControlNet to ``out``; run again after a kill to go on.

    Args:
        records: of one or several owners, each with its own n.
        base: the frozen base; the UNet sees the empty prompt and the ControlNet zeros, unless ``captions`` are given.
        out: the folder of the ControlNet, its settings and its checkpoint.
        config: how to train.
        captions: contexts of captions that are not private.
        on_step: told about every step.
        validate: called with the averaged ControlNet and the step, every ``validate_every`` steps.

    Raises:
        UserError: too few records, a checkpoint of another run, or a loss that is not finite.
    """
    top = int(records.n.max())
    if top >= base.schedule.steps - 1:
        raise UserError(
            f"sealed at step {top}",
            expected=f"below {base.schedule.steps - 1}, the last step",
            fix="seal at a lower step: nothing is left to train on",
        )
    level = records.level_conditions(base.schedule, seed=config.seed)
    if len(level) < 2:
        raise UserError(f"{len(level)} record", expected="at least 2", fix="seal more pictures")
    index, aside = level.split(min(config.held_out, len(level) // 5))
    train_set, kept = level.take(index), level.take(aside)
    words, words_aside = (None, None) if captions is None else (captions.take(index), captions.take(aside))

    accelerator = Accelerator(mixed_precision=config.precision, cpu=base.unet.device.type == "cpu")
    model = nets.new_controlnet(base, generator=generator(config.seed, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    model, optimiser = accelerator.prepare(model, optimiser)
    net = accelerator.unwrap_model(model)
    average = {name: value.detach().clone() for name, value in net.state_dict().items()}
    null = NullContexts(base.unet, base.empty_context.to(base.unet.device), net) if captions is None else None
    run = _run_id(config, level, base, captions)
    first = _resume(out, run, net, average, optimiser)
    writer = _writer(out) if config.tensorboard else None

    for step in range(first, config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * _rate(step, config)
        total = 0.0
        for part in range(config.accumulation):
            index = batch_index(len(train_set), config.batch, step * config.accumulation + part, seed=config.seed)
            draws = generator(config.seed, 2, step, part)
            with accelerator.autocast(), null.entered() if null else nullcontext():
                loss = _loss(model, base, train_set, index, words, draws) / config.accumulation
            accelerator.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise UserError(
                f"the loss became {total} at step {step}", fix="start again in another --out with a lower --lr or --precision no"
            )
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        _follow(average, net, min(config.ema, (1 + step) / (10 + step)))
        done = step + 1
        at_checkpoint = done % config.checkpoint_every == 0 or done == config.steps
        held_out_loss = _held_out_loss(net, base, kept, words_aside, config) if at_checkpoint and len(kept) else None
        if at_checkpoint:
            _checkpoint(out, run, done, net, average, optimiser)
        if writer is not None:
            writer.add_scalar("loss/train", total, done)
            if held_out_loss is not None:
                writer.add_scalar("loss/held_out_records", held_out_loss, done)
        if validate is not None and config.validate_every and done % config.validate_every == 0:
            validate(_averaged(base, average), done)
        on_step(Progress(done, config.steps, total, held_out_loss))
    if writer is not None:
        writer.close()
    scale = 1.0 if captions is not None or bool((level.m < 0).all()) else float(base.schedule.alpha(int(level.m.max())))
    nets.save_controlnet(_averaged(base, average), out, _settings(records, base, config, scale, captions is not None))
    return out


def _loss(
    model: Any, base: Base, records: Records, index: torch.Tensor, captions: Captioned | None, draws: torch.Generator
) -> torch.Tensor:
    """The exact objective on a batch; the UNet's own encoder needs no gradient and gets none: its inputs and weights ask for none."""
    z_n, c_m, n = records.z_n[index], records.c_m[index], records.n[index]
    t = draw_t(n, base.schedule.steps, generator=draws)
    z_t, eps, s = renoise(z_n, n, t, base.schedule, generator=draws)
    b = len(index)
    context = base.empty_context.expand(b, -1, -1)
    if captions is not None:
        keep = torch.rand((b, 1, 1), generator=draws) >= captions.dropped
        context = torch.where(keep, captions.context[index], context)
    seen = torch.zeros_like(context)
    device = base.unet.device
    z_t, c_m, t, context, seen = (x.to(device) for x in (z_t, c_m, t, context, seen))
    z_t = z_t.contiguous(memory_format=torch.channels_last)
    down, mid = model(z_t, t, context if captions is not None else seen, controlnet_cond=c_m, return_dict=False)
    output = base.unet(
        z_t, t, encoder_hidden_states=context, down_block_additional_residuals=down, mid_block_additional_residual=mid
    ).sample
    eps_hat = eps_from(output.float(), z_t, t, base.schedule, base.prediction_type)
    return sealed_loss(eps_hat, eps.to(device), s.to(device), t, base.schedule).mean()


@torch.no_grad()
def _held_out_loss(model: Any, base: Base, records: Records, captions: Captioned | None, config: TrainConfig) -> float:
    """The loss on records that are not trained on, with the same draws every time: it rises when the run overfits."""
    return float(_loss(model, base, records, torch.arange(len(records)), captions, generator(config.seed, 3)))


def _rate(step: int, config: TrainConfig) -> float:
    """Warm-up, then a cosine to zero."""
    return min(1.0, (step + 1) / max(1, config.warmup)) * 0.5 * (1 + math.cos(math.pi * step / config.steps))


@torch.no_grad()
def _follow(average: dict[str, torch.Tensor], model: Any, decay: float) -> None:
    for name, value in model.state_dict().items():
        average[name].lerp_(value.to(average[name]), 1 - decay)


def _averaged(base: Base, average: dict[str, torch.Tensor]) -> Any:
    model = nets.new_controlnet(base, generator=generator(0))
    model.load_state_dict(average)
    return model.eval().requires_grad_(False).to(base.unet.device)


def _run_id(config: TrainConfig, records: Records, base: Base, captions: Captioned | None) -> str:
    """What a checkpoint must match to be resumed: the settings, the base and every record."""
    settings = asdict(config)
    for free in ("checkpoint_every", "validate_every", "tensorboard"):
        del settings[free]
    data = [records.z_n, records.c_m, records.n, records.m] + ([] if captions is None else [captions.context])
    digest = sha256(b"".join(sha256(x.contiguous().numpy().tobytes()).encode() for x in data))
    return json.dumps([settings, digest, base.unet_fingerprint], sort_keys=True)


def _checkpoint(out: Path, run: str, step: int, model: Any, average: dict[str, torch.Tensor], optimiser: Any) -> None:
    state = {f"model.{k}": v for k, v in model.state_dict().items()} | {f"average.{k}": v for k, v in average.items()}
    for index, slots in optimiser.state_dict()["state"].items():
        state |= {f"optimiser.{index}.{name}": value for name, value in slots.items()}
    write_atomic(out / CHECKPOINT, to_bytes({**state, "step": torch.tensor(step)}, {"run": run}))


def _resume(out: Path, run: str, model: Any, average: dict[str, torch.Tensor], optimiser: Any) -> int:
    path = out / CHECKPOINT
    for stray in out.glob(f".{CHECKPOINT}.*.partial"):  # of a run that was killed while it wrote
        stray.unlink()
    if not path.exists():
        return 0
    data = path.read_bytes()
    state = from_bytes(data, name=str(path))
    if metadata_of(data).get("run") != run:
        raise UserError(f"{out}: holds a checkpoint of another run", fix="use the same settings and records to go on, or another --out")
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    for name in average:
        average[name].copy_(state[f"average.{name}"])
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format  # as the parameters lie
            slots.setdefault(int(index), {})[name] = value.contiguous(memory_format=layout)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    return int(state["step"])


def _settings(records: Records, base: Base, config: TrainConfig, scale: float, captioned: bool) -> dict[str, Any]:
    manifests = records.manifests
    return {
        "kind": "sfumato-controlnet",
        "version": __version__,
        "base": {"name": base.public_name, "local": base.is_local, "fingerprint": base.fingerprint, "unet": base.unet_fingerprint},
        "condition": records.condition,
        "condition_scale": scale,
        "context": "captions" if captioned else "zeros",
        "control_guidance_end": 1.0,
        "train": asdict(config),
        "records": len(records),
        "owners": [
            {
                "owner": m.owner,
                "key": m.public_key,
                "release": m.release,
                "records": m.records,
                "settings": asdict(m.settings),
                "privacy": m.privacy,
            }
            for m in manifests
        ],
    }


def _writer(out: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out / "logs"))
