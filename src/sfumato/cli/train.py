"""``sfumato train``: the server's command."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    records: Annotated[list[Path], typer.Argument(help="Folders of records, of one owner or several.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the ControlNet goes.")],
    work: Annotated[
        Path | None, typer.Option("--work", help="Private: checkpoint, logs, derived pairs, owners; by default OUT-work.")
    ] = None,
    base: Annotated[str, typer.Option(help="tiny, a diffusers folder, or a hub id of SD 1.x / 2.x.")] = "tiny",
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 450,
    batch: Annotated[int, typer.Option(help="Records in a batch.")] = 32,
    accumulation: Annotated[int, typer.Option(help="Batches to a step.")] = 1,
    lr: Annotated[float, typer.Option(help="Learning rate at its highest.")] = 3e-4,
    ema: Annotated[float, typer.Option(help="Decay of the average of the weights, which is what is saved.")] = 0.99,
    held_out: Annotated[int, typer.Option(help="Records kept aside to see overfitting, at most a fifth; 0: none.")] = 32,
    precision: Annotated[str, typer.Option(help="auto, no, bf16 or fp16.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the server's own noise and order.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 100,
    validate_every: Annotated[int, typer.Option(help="Steps between validation pictures; 0: none.")] = 0,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard logs to WORK/logs.")] = False,
    ignore_unlisted: Annotated[bool, typer.Option("--ignore-unlisted", help="Do without shards that no manifest lists.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what another run left in OUT and WORK.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a ControlNet from sealed records. Interrupted? Run it again: it goes on from its checkpoint.

    With several GPUs: torchrun --nproc-per-node N --no-python sfumato train ...
    """
    import time

    from sfumato.cli import _output

    started = time.monotonic()
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.core import finished, processes
    from sfumato.core.device import choose_device, choose_precision
    from sfumato.core.memory import peak_bytes
    from sfumato.server.export import SHARED, contents, work_folder
    from sfumato.server.fit import CHECKPOINT, TrainConfig

    device = choose_device()
    config = TrainConfig(
        steps=steps,
        batch=batch,
        accumulation=accumulation,
        lr=lr,
        ema=ema,
        held_out=held_out,
        precision=choose_precision(device) if precision == "auto" else precision,
        seed=seed,
        checkpoint_every=checkpoint_every,
        validate_every=validate_every,
        tensorboard=tensorboard,
    )
    with processes.joined():
        private = work_folder(out, work)
        if not (private / CHECKPOINT).exists():  # of no run that could go on: said before anything is read
            finished.keep(*(out / name for name in SHARED), overwrite=overwrite, what="of another run")
        found = _train(records, out, private, base, config, device, ignore_unlisted=ignore_unlisted, overwrite=overwrite)
        main = processes.is_main()
    if not main:
        return
    report = {
        "out": str(out),
        "work": str(private),
        "shared": [item._asdict() for item in contents(out)],
        **found,
        "steps": steps,
        "precision": config.precision,
        "peak_bytes": peak_bytes(),
        "seconds": time.monotonic() - started,
    }
    if as_json:
        _output.emit(report)
    else:
        _output.say(f"ControlNet in {out}, from {report['records']} records of {len(report['owners'])} owners. Next: sfumato generate")
        _output.say(f"{private} holds the checkpoint and the owners' names and keys: keep it to yourself")


def _train(
    records: list[Path], out: Path, work: Path, base: str, config: Any, device: str, *, ignore_unlisted: bool, overwrite: bool
) -> dict[str, Any]:  # fmt: skip
    """Read, derive and train; every process does, the main one tells."""
    from sfumato.cli import _output
    from sfumato.core import processes
    from sfumato.diffusion.base import load_base
    from sfumato.records import reader
    from sfumato.records.trust import remember_owner
    from sfumato.server import derive, validate
    from sfumato.server.fit import Progress
    from sfumato.server.train import train

    main = processes.is_main()
    loaded_base = load_base(base, device=device)
    loaded = reader.load(records, codec=loaded_base, ignore_unlisted=ignore_unlisted)
    if main:
        for manifest in loaded.manifests:  # whoever's records are unreadable or for another base is not remembered
            if remember_owner(manifest):
                _output.say(f"{manifest.owner}: an owner not seen before; key {manifest.public_key[:16]}… is remembered")
        for line in loaded.refused:
            _output.say(f"refused: {line}")
    with _output.bar("finding conditions") if main else nullcontext(_nothing) as advance:
        loaded = derive.if_needed(loaded, loaded_base, seed=config.seed, precision=config.precision, work=work, on_step=advance)
    held_out_loss: list[float] = []
    with _output.bar("training", config.steps) if main else nullcontext(_nothing) as advance:

        def tell(progress: Progress) -> None:
            if progress.held_out_loss is not None:
                held_out_loss.append(progress.held_out_loss)
            note = f"loss {progress.loss:.3f}" + (f", held out {held_out_loss[-1]:.3f}" if held_out_loss else "")
            advance(progress.step, progress.steps, note)

        pictures = validate.saver(loaded, loaded_base, work, seed=config.seed) if config.validate_every and main else None
        train(loaded, loaded_base, out, config, work=work, overwrite=overwrite, on_step=tell, validate=pictures)
    return {
        "records": len(loaded),
        "owners": [m.owner for m in loaded.manifests],
        "refused": list(loaded.refused),
        "held_out_loss": held_out_loss,
        "processes": processes.count(),
    }


def _nothing(*told: Any) -> None:
    """What other processes than the main one show."""
