"""``sfumato scrub``: a copy that says no more than a user of the model needs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

WRONG = 2  # exit code
KEEP = "What stays in headers, with commas between: trigger, base, rank, alpha, license; title, author, hash, base-name, steps."


def command(
    path: Annotated[Path, typer.Argument(help="A .safetensors file of any program, or a folder that is to be pushed.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the clean copy goes.")] = None,
    keep: Annotated[str, typer.Option(help=KEEP)] = "trigger,base,rank,alpha,license",
    trigger: Annotated[str | None, typer.Option(help="Words to write as the trigger: kohya's may stand in a folder's name alone.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the file itself.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a copy with the same tensors, by hash, and a header that says what loading takes.

    Captions, names, paths, comments, pictures, counts, times and hidden bytes go. Of a folder, weights and settings are copied; pictures,
    logs, checkpoints and texts are left out, and said. What the weights have learned stays in them: no header tells of that.

    Exit code 2: a file of the folder could not be read. It is named, and is not in the copy.
    """
    from sfumato.api.scrub import scrub
    from sfumato.cli import _output

    words = [word.strip() for word in keep.split(",") if word.strip()]
    done = scrub(path, out, keep=words, trigger=trigger, in_place=in_place, dry_run=dry_run, overwrite=overwrite)
    if as_json:
        from sfumato.cli.outputs.scrub import Scrub

        where = None if done.out is None else str(done.out)
        _output.emit(Scrub(out=where, files=done.files, copied=done.copied, left_out=done.left_out, bad=done.bad))
        raise typer.Exit(WRONG if done.bad else 0)
    verb = "would keep" if dry_run else "kept"
    for name, one in done.files.items():
        _output.say(f"{name}: {one.tensors} tensors, the same by hash ({one.sha256[:12]}…)")
        _output.say(f"  {verb}: {', '.join(one.kept) or 'no note'}")
        _output.say(f"  dropped: {', '.join(one.dropped) or 'nothing'}" + (f"; {one.hidden} hidden bytes" if one.hidden else ""))
        if stays := [note for note in one.kept if "trigger" in note or note == "trained_words"]:
            _output.say(f"  {', '.join(stays)} stays, for users need it. If it is somebody's name: --keep base,rank,alpha")
        for word in one.lost:
            _output.say(f"  the trigger {word!r} stood in a folder's name alone, and goes with it.")
            _output.say(f"  Users need it. Where it is nobody's name: --trigger {shlex.quote(word)}")
    for name in done.copied:
        _output.say(f"{name}: {verb}")
    for name, why in done.left_out.items():
        _output.say(f"{name}: left out. {why}")
    for name, why in done.bad.items():
        _output.say(f"{name}: NOT IN THE COPY, it could not be read: {why}")
    if done.out is not None:
        _output.say(f"{done.out}: clean. Look: sfumato audit {done.out}")
    if done.bad:
        raise typer.Exit(WRONG)
