"""What an adapter's weights say without a base: how many directions they use, and whether they are another known file's."""

from __future__ import annotations

from pathlib import Path

from sfumato.adapters import spectrum
from sfumato.adapters.spectrum import Component, Likeness
from sfumato.core.errors import UserError
from sfumato.sharing.finding import Measured, Seen, Untested

_LIKELY = {
    "copy": "a copy, at most scaled",
    "merge": "it holds the other's change: a merge, or trained on from it",
    "unrelated": "unrelated, or a merge of very many",
}


def alone(path: Path) -> Seen:
    """The spectrum of each part; nothing where no layer is plain LoRA."""
    return of(path, ())


def of(path: Path, others: tuple[Path, ...]) -> Seen:
    """The spectrum of each part of ``path``, and how near it is to each of ``others``."""
    measured: list[Measured] = []
    untested: list[Untested] = []
    try:
        measured += [_spectrum(path, part) for part in spectrum.components(path)]
        if not measured:
            untested.append(Untested(what=f"the spectrum of {path}", why="of plain LoRA alone it is read, and no layer of it is"))
    except (UserError, OSError) as error:
        untested.append(Untested(what=f"the spectrum of {path}", why=str(error).splitlines()[0]))
    for other in others:
        question = f"whether {path} is like {other}"
        try:
            near = spectrum.likeness(path, other)
        except (UserError, OSError) as error:
            untested.append(Untested(what=question, why=str(error).splitlines()[0], asked=True))
            continue
        if near.likely == "not tested":
            untested.append(Untested(what=question, why=near.why, asked=True))
        else:
            measured.append(_like(path, other, near))
    return Seen(measured=tuple(measured), untested=tuple(untested))


def _spectrum(path: Path, part: Component) -> Measured:
    """One line: ``effective rank 2.3 of 16 in the middle of 28 layers; most changed: up_blocks.0 (7 %)``."""
    layers = f"{part.layers} layer" + ("s" if part.layers != 1 else "")
    skipped = f"; {part.skipped} were not read" if part.skipped else ""
    most = ", ".join(f"{name} ({share:.1%})" for name, share in part.largest)
    said = f"effective rank {part.effective_rank:.1f} of {part.rank}, the middle of {layers}{skipped}"
    return Measured(
        what=f"spectrum of the {part.name}", path=str(path), said=said + (f"; most changed: {most}" if most else ""),
        value=part.effective_rank, n=part.layers,
    )  # fmt: skip


def _like(path: Path, other: Path, near: Likeness) -> Measured:
    said = f"{_LIKELY[near.likely]} (cosine {near.cosine:.3f} over {near.layers} of {near.of} layers)"
    return Measured(what=f"likeness to {other}", path=str(path), said=said, value=near.cosine, n=near.layers)
