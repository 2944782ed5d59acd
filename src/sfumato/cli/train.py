"""``sfumato train``: the server's command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli._choices import Precision


def command(
    records: Annotated[list[Path], typer.Argument(help="Folders of records, of one owner or several; or the folder of one pool.")],
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
    precision: Annotated[Precision, typer.Option(help="auto is what suits this machine, no is float32.")] = Precision.AUTO,
    seed: Annotated[int, typer.Option(help="Seed of the server's own noise and order.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 100,
    validate_every: Annotated[int, typer.Option(help="Steps between validation pictures; 0: none.")] = 0,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard logs to WORK/logs.")] = False,
    ignore_unlisted: Annotated[bool, typer.Option("--ignore-unlisted", help="Do without shards that no manifest lists.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what another run left in OUT and WORK.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a ControlNet from sealed records, or from a pool of votes. Interrupted? Run it again: it goes on from its checkpoint.

    With several GPUs: torchrun --nproc-per-node N --no-python sfumato train ...
    """
    import time

    from sfumato.cli import _output

    started = time.monotonic()
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.api.train import TrainConfig, train
    from sfumato.core.device import choose_device, choose_precision
    from sfumato.core.memory import peak_bytes

    config = TrainConfig(
        steps=steps,
        batch=batch,
        accumulation=accumulation,
        lr=lr,
        ema=ema,
        held_out=held_out,
        precision=choose_precision(choose_device()) if precision is Precision.AUTO else precision.value,
        seed=seed,
        checkpoint_every=checkpoint_every,
        validate_every=validate_every,
        tensorboard=tensorboard,
    )
    with _output.bars() as progress:
        trained = train(
            records, out, base=base, config=config, work=work, ignore_unlisted=ignore_unlisted, overwrite=overwrite, on_progress=progress,
            on_note=_output.say,
        )  # fmt: skip
    if not trained.is_main:
        return
    if as_json:
        from sfumato.cli.outputs.train import SharedFile, Train

        report = Train(
            out=str(out),
            work=str(trained.work),
            shared=tuple(SharedFile.of(item) for item in trained.shared),
            records=trained.records,
            owners=trained.owners,
            refused=trained.refused,
            held_out_loss=trained.held_out_loss,
            processes=trained.processes,
            steps=steps,
            precision=config.precision,
            peak_bytes=peak_bytes(),
            seconds=time.monotonic() - started,
        )
        _output.emit(report)
    else:
        what = "pictures drawn by the votes" if (records[0] / "pool.json").is_file() else "records"
        _output.say(f"ControlNet in {out}, from {trained.records} {what} of {len(trained.owners)} owners. Next: sfumato generate")
        _output.say(f"{trained.work} holds the checkpoint and the owners' names and keys: keep it to yourself")
