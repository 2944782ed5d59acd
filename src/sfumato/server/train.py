"""Train a ControlNet from records alone. The server never held a picture, a caption or an owner's noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sfumato.core.artifact import sha256
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t, renoise, sealed_loss
from sfumato.records.manifest import Manifest
from sfumato.records.reader import Records, batch_index
from sfumato.server.fit import Progress, TrainConfig, fit


@dataclass(frozen=True)
class Captioned:
    """Captions for the arms that are not private (``public``, ``centralised``): ``context`` ``(N, L, D)``, aligned with the records."""

    context: torch.Tensor
    dropped: float = 0.1

    def take(self, index: torch.Tensor) -> Captioned:
        """The captions of the records at ``index``."""
        return Captioned(self.context[index], self.dropped)


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
    if records.derived:
        raise UserError("records without conditions", expected="conditions to train on", fix="let server.derive find them first")
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

    def loss(model: Any, step: int, part: int) -> torch.Tensor:
        batch = batch_index(len(train_set), config.batch, step * config.accumulation + part, seed=config.seed)
        return objective(model, base, train_set, batch, words, generator(config.seed, 2, step, part))

    @torch.no_grad()
    def held_out(model: Any) -> float | None:
        """The same draws every time: it rises when the run overfits."""
        everything = torch.arange(len(kept))
        return float(objective(model, base, kept, everything, words_aside, generator(config.seed, 3))) if len(kept) else None

    model = nets.new_controlnet(base, generator=generator(config.seed, 1))
    null = NullContexts(base.unet, base.empty_context.to(base.unet.device), model) if captions is None else None
    averaged = fit(
        model, base, out, config, run=_run_id(config, level, base, captions), loss=loss, held_out=held_out, null=null,
        on_step=on_step, validate=validate,
    )  # fmt: skip
    settings = nets.describe(
        base, condition=records.condition, captioned=captions is not None, train=asdict(config), records=len(records),
        owners=[_owner(manifest) for manifest in records.manifests],
    )  # fmt: skip
    nets.save_controlnet(averaged, out, settings)
    return out


def objective(
    model: Any, base: Base, records: Records, index: torch.Tensor, captions: Captioned | None, draws: torch.Generator
) -> torch.Tensor:
    """The exact objective on a batch."""
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
    eps_hat = nets.controlled_eps(base, model, z_t, t, context=context, hint=c_m, seen=context if captions is not None else seen)
    return sealed_loss(eps_hat, eps.to(device), s.to(device), t, base.schedule).mean()


def _run_id(config: TrainConfig, records: Records, base: Base, captions: Captioned | None) -> str:
    """What a checkpoint must match to be resumed: the settings, the base and every record."""
    words = "" if captions is None else sha256(captions.context.contiguous().numpy().tobytes())
    return json.dumps([config.identity(), records.digest(), words, base.unet_fingerprint], sort_keys=True)


def _owner(m: Manifest) -> dict[str, Any]:
    named = {"owner": m.owner, "key": m.public_key, "release": m.release, "records": m.records}
    return {**named, "settings": asdict(m.settings), "privacy": m.privacy}
