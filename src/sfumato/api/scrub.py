"""``scrub``: a copy that says no more than a user of the model needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sfumato.adapters import scrub as files
from sfumato.adapters.scrub import KEEP, USUAL
from sfumato.core import finished
from sfumato.core.errors import UserError
from sfumato.sharing import clean

__all__ = ["KEEP", "USUAL", "Scrubbed", "scrub"]


@dataclass(frozen=True, kw_only=True)
class Scrubbed:
    """What a clean copy leaves out.

    Attributes:
        out: the copy; None where nothing was written.
        files: of each file that was cleaned, its notes kept and dropped, hidden bytes, and the hash
            of its tensors, which is the same of both files.
        copied: files of a folder that are as they were.
        left_out: files of a folder that are not in the copy, and why.
        bad: files of a folder that should be in it and could not be read, and why.
    """

    out: Path | None
    files: dict[str, files.Scrubbed]
    copied: tuple[str, ...] = ()
    left_out: dict[str, str]
    bad: dict[str, str] = field(default_factory=dict)


def scrub(
    path: str | Path,
    out: str | Path | None = None,
    *,
    keep: Iterable[str] = USUAL,
    trigger: str | None = None,
    in_place: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    on_file: Callable[[str], None] = lambda name: None,
) -> Scrubbed:
    """Write a clean copy of a safetensors file or of a folder that is to be pushed.

    Tensors stay to the bit, which is proved by hash before this returns. Headers keep what a list
    allows. Of a folder, weights and the settings that loading takes are copied, and nothing else.

    Args:
        path: the file or folder.
        out: the copy.
        keep: what stays in headers: some of ``trigger``, ``base``, ``rank``, ``alpha``,
            ``license`` (these by default), ``title``, ``author``, ``hash``, ``base-name``,
            ``steps``.
        trigger: words to write as the trigger of an adapter: kohya's often stands in names of
            folders alone, which go.
        in_place: replace the file itself; not for folders.
        dry_run: only say what would go.
        overwrite: replace what ``out`` holds.
        on_file: told about each file.

    Raises:
        UserError: no such file, no or two places for the copy, a place that is taken, or a file
            whose tensors cannot be copied.

    Examples:
        >>> scrubbed = sfumato.scrub("lora.safetensors", "clean.safetensors")
        >>> scrubbed.files["lora.safetensors"].hidden
        0
    """
    source, words = Path(path), files.chosen(keep)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder", fix="check the path")
    if in_place and source.is_dir():
        raise UserError(f"--in-place with a folder, {source}", expected="a file", fix="give --out: files are left out of a copy")
    if not dry_run and in_place == (out is not None):
        raise UserError("no place for the copy, or two", expected="--out, or --in-place, or --dry-run")
    target = None if dry_run else source if in_place or out is None else Path(out)
    if target is not None and not in_place:
        if target.resolve() == source.resolve():
            raise UserError(f"{target}: the file itself", expected="--in-place, to replace it")
        if not source.is_dir() and target.is_dir():
            target = target / source.name
        finished.keep(target, overwrite=overwrite)
    if source.is_dir():
        found = clean.folder(source, target, keep=words, trigger=trigger, on_file=on_file)
        return Scrubbed(out=target, files=found.cleaned, copied=found.copied, left_out=found.left_out, bad=found.bad)
    on_file(source.name)
    return Scrubbed(out=target, files={source.name: files.scrub(source, target, keep=words, trigger=trigger)}, left_out={})
