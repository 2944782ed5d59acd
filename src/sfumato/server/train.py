"""Train a ControlNet from records alone. The server never held a picture, a caption or an owner's noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sfumato.core import checkpoint, finished, processes
from sfumato.core.artifact import sha256, write_json
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t, renoise, sealed_loss
from sfumato.diffusion.schedule import CLEAN
from sfumato.records.manifest import Manifest
from sfumato.records.reader import Records, batch_index
from sfumato.server.export import PROVENANCE, SHARED, work_folder
from sfumato.server.fit import CHECKPOINT, TrainConfig, fit


@dataclass(frozen=True)
class Captioned:
    """Captions for the arms that are not private (``public``, ``centralised``): ``context`` ``(N, L, D)``, aligned with the records."""

    context: torch.Tensor
    dropped: float = 0.1

    def take(self, index: torch.Tensor) -> Captioned:
        """The captions of the records at ``index``."""
        return Captioned(self.context[index], self.dropped)


@dataclass(frozen=True)
class Voted:
    """Who voted on a pool: ``owners`` by name, with their keys and what their ballots claim, and ``privacy``, what all of it guarantees."""

    owners: dict[str, Any]
    privacy: dict[str, Any]


def train(
    records: Records,
    base: Base,
    out: Path,
    config: TrainConfig,
    *,
    captions: Captioned | None = None,
    voted: Voted | None = None,
    work: Path | None = None,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    validate: Callable[[Any, int], None] | None = None,
) -> Path:
    """Train on ``records`` and write a ControlNet to ``out``; run again after a kill to go on.

    Of several processes (``core.processes``) each computes its rows of every batch.

    Args:
        records: of one or several owners, each with its own n.
        base: the frozen base; the UNet sees the empty prompt and the ControlNet zeros, unless ``captions`` are given.
        out: the folder of the ControlNet and its settings: what may be shared (``server.export``).
        config: how to train.
        captions: contexts of captions that are not private.
        voted: who voted, where the records are a pool's pictures.
        work: the private folder of checkpoint, logs and provenance; by default ``OUT-work``.
        overwrite: replace what another run left in ``out`` and ``work``.
        on_step: told about every step.
        validate: called with the averaged ControlNet and the step, every ``validate_every`` steps.

    Raises:
        UserError: too few records, a loss that is not finite, or a checkpoint or a ControlNet of another run, where it is not to be
            overwritten.
    """
    if config.batch < processes.count():
        raise UserError(
            f"batches of {config.batch} for {processes.count()} processes", expected="a record for each", fix="a larger --batch"
        )
    if records.derived:
        raise UserError("records without conditions", expected="conditions to train on", fix="let server.derive find them first")
    top = max(int(records.n.max()), config.above)
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
        rows = processes.share(len(batch))
        mine = objective(model, base, train_set, batch, words, generator(config.seed, 2, step, part), rows=rows, above=config.above)
        return mine * ((rows.stop - rows.start) / len(batch))

    @torch.no_grad()
    def held_out(model: Any) -> float | None:
        """The same draws every time: it rises when the run overfits."""
        if not len(kept):
            return None
        everything, rows = torch.arange(len(kept)), processes.share(len(kept))
        value = torch.zeros((), device=base.unet.device)
        if rows.stop > rows.start:
            mine = objective(model, base, kept, everything, words_aside, generator(config.seed, 3), rows=rows, above=config.above)
            value += mine * ((rows.stop - rows.start) / len(kept))
        processes.add_up([value])
        return float(value)

    work, run = work_folder(out, work), _run_id(config, level, base, captions)
    if not (work / CHECKPOINT).exists() or checkpoint.run_of(work / CHECKPOINT) not in (run, None):  # None: damaged, which is said below
        finished.keep(*(out / name for name in SHARED), overwrite=overwrite, what="of another run")
    model = nets.new_controlnet(base, generator=generator(config.seed, 1))
    null = NullContexts(base.unet, base.empty_context.to(base.unet.device), model) if captions is None else None
    averaged = fit(
        model, base, work, config, run=run, loss=loss, held_out=held_out, null=null, shared=True, overwrite=overwrite, on_step=on_step,
        validate=validate,
    )  # fmt: skip
    if processes.is_main():
        named: dict[str, Any] = {
            "train": asdict(config),
            "records": len(records),
            "owners": [_owner(manifest) for manifest in records.manifests],
        }
        numbers: dict[str, Any] = {"records": len(records), "owners": len(records.manifests)}
        if voted is not None:
            named["voted"] = voted.owners
            numbers |= {"owners": len(voted.owners), "scheme": "private_evolution", "privacy": voted.privacy}
        write_json(work / PROVENANCE, named)
        settings = nets.describe(base, condition=records.condition, captioned=captions is not None, **numbers)
        nets.save_controlnet(averaged, out, settings)
    processes.wait()
    return out


def objective(
    model: Any, base: Base, records: Records, index: torch.Tensor, captions: Captioned | None, draws: torch.Generator,
    *, rows: slice = slice(None), above: int = CLEAN,
) -> torch.Tensor:  # fmt: skip
    """The exact objective on a batch: the mean over its ``rows``, with the draws of the whole, whoever computes the others."""
    n, b = records.n[index], len(index)
    t = draw_t(n.clamp(min=above), base.schedule.steps, generator=draws)
    eps = torch.randn((b, *records.z_n.shape[1:]), generator=draws)
    keep = None if captions is None else torch.rand((b, 1, 1), generator=draws) >= captions.dropped
    index, n, t, eps = index[rows], n[rows], t[rows], eps[rows]
    z_t, eps, s = renoise(records.z_n[index], n, t, base.schedule, eps=eps)
    c_m, context = records.c_m[index], base.empty_context.expand(len(index), -1, -1)
    if captions is not None and keep is not None:
        context = torch.where(keep[rows], captions.context[index], context)
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
