"""``train``: a ControlNet from sealed records alone, or from a pool that owners voted on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sfumato.api._common import OnNote, OnProgress, base_of, no_note, no_progress
from sfumato.api.load import load_records
from sfumato.core import finished, processes
from sfumato.core.device import choose_device, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress
from sfumato.diffusion.base import DEFAULT, Base
from sfumato.records.reader import Records
from sfumato.records.trust import remember_owner
from sfumato.server import derive, evolve, validate
from sfumato.server import pool as pools
from sfumato.server import train as server
from sfumato.server.export import SHARED, Item, contents, work_folder
from sfumato.server.fit import CHECKPOINT
from sfumato.server.fit import TrainConfig as TrainConfig
from sfumato.server.pool import Pool


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training left.

    Attributes:
        out: the ControlNet's folder, which may be shared.
        work: the private folder beside it: checkpoint, logs, the owners' names and keys.
        shared: the files in ``out``.
        records: how many records were trained on.
        owners: the names that signed them, one for each release.
        refused: shards that were left out, and why.
        held_out_loss: the loss on records that were kept aside, at each look.
        config: how it was trained.
        processes: how many worked on it.
        is_main: whether this process is the one that wrote.
    """

    out: Path
    work: Path
    shared: tuple[Item, ...]
    records: int
    owners: tuple[str, ...]
    refused: tuple[str, ...]
    held_out_loss: tuple[float, ...]
    config: TrainConfig
    processes: int
    is_main: bool


def train(
    records: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    base: str | Path | Base = DEFAULT,
    config: TrainConfig | None = None,
    work: str | Path | None = None,
    ignore_unlisted: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Trained:
    """Train a ControlNet from sealed records, or from a pool. Run again after an interrupt it goes on from its checkpoint.

    Owners not seen before are remembered by their keys. Where no condition left its owner,
    conditions are found first. Several processes, as ``torchrun`` starts them, share the work.

    Args:
        records: one folder of records, or one for each release; or the folder of a pool, whose last
            round is trained on.
        out: where the ControlNet goes.
        base: the base that they were sealed for, by name or as it was loaded.
        config: how to train: steps, batch, rate; None for the usual, at the precision that suits
            this machine.
        work: the private folder; by default ``OUT-work`` beside ``out``.
        ignore_unlisted: go on without shards that no manifest lists.
        overwrite: replace what another run left in ``out`` and ``work``.
        on_progress: told how far it is; only in the main process.
        on_note: told what a person should know; only there, too.

    Raises:
        RecordError: records that cannot be believed, or of another base.
        UserError: too few records, a loss that is not finite, or another run's files in the way.

    Examples:
        >>> config = sfumato.TrainConfig(steps=1, batch=2, held_out=0)
        >>> trained = sfumato.train("records", "another", base=base, config=config)
        >>> trained.records, trained.owners, [item.file for item in trained.shared]
        (4, ('me',), ['config.json', 'diffusion_pytorch_model.safetensors', 'sfumato.json'])
    """
    out = Path(out)
    if config is None:
        config = TrainConfig(precision=choose_precision(base.unet.device if isinstance(base, Base) else choose_device()))
    with processes.joined():
        private = work_folder(out, None if work is None else Path(work))
        if not (private / CHECKPOINT).exists():  # of no run that could go on: said before anything is read
            finished.keep(*(out / name for name in SHARED), overwrite=overwrite, what="of another run")
        main = processes.is_main()
        loaded_base = base_of(base)
        if not main:
            on_progress = no_progress
        pool = _pool(records, loaded_base)
        if pool is None:
            loaded = load_records(records, base=loaded_base, ignore_unlisted=ignore_unlisted)
        else:
            loaded = evolve.pairs(pool, loaded_base, on_step=lambda done, total: on_progress("finding conditions", done, total))
        if main:
            _greet(loaded, on_note)
        loaded = derive.if_needed(
            loaded, loaded_base, seed=config.seed, precision=config.precision, work=private,
            on_step=lambda done, total: on_progress("finding conditions", done, total),
        )  # fmt: skip
        held_out_loss: list[float] = []

        def tell(progress: Progress) -> None:
            if progress.held_out_loss is not None:
                held_out_loss.append(progress.held_out_loss)
            note = f"loss {progress.loss:.3f}" + (f", held out {held_out_loss[-1]:.3f}" if held_out_loss else "")
            on_progress("training", progress.step, progress.steps, note)

        pictures = validate.saver(loaded, loaded_base, private, seed=config.seed) if config.validate_every and main else None
        voted = None if pool is None else evolve.voted(pool)
        server.train(
            loaded, loaded_base, out, config, work=private, overwrite=overwrite, on_step=tell, validate=pictures, voted=voted
        )  # fmt: skip
        return Trained(
            out=out,
            work=private,
            shared=tuple(contents(out)) if main else (),
            records=len(loaded),
            owners=tuple(manifest.owner for manifest in loaded.manifests) if voted is None else tuple(sorted(voted.owners)),
            refused=loaded.refused,
            held_out_loss=tuple(held_out_loss),
            config=config,
            processes=processes.count(),
            is_main=main,
        )


def _pool(records: str | Path | Iterable[str | Path], base: Base) -> Pool | None:
    """The pool that is to be trained from; None where it is records."""
    folders = [Path(one) for one in ([records] if isinstance(records, str | Path) else records)]
    found = [folder for folder in folders if pools.is_pool(folder)]
    if not found:
        return None
    if len(folders) > 1:
        raise UserError(f"{found[0]}: a pool, beside {len(folders) - 1} more", expected="records, or one pool", fix="train from it alone")
    return pools.read(found[0], base)


def _greet(records: Records, on_note: OnNote) -> None:
    """Remember owners: those alone whose records can be read, and are of this base."""
    for manifest in records.manifests:
        if remember_owner(manifest):
            on_note(f"{manifest.owner}: an owner not seen before; key {manifest.public_key[:16]}… is remembered")
    for line in records.refused:
        on_note(f"refused: {line}")
