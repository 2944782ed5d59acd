"""What the verbs share: callbacks, and bases by name or as they were loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sfumato.core.device import choose_device
from sfumato.diffusion import base as bases
from sfumato.diffusion.base import Base, Codec


class OnProgress(Protocol):
    """Told of work: what is done, how far, of how much (0: nobody knows), and a note such as a loss."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


class OnNote(Protocol):
    """Told, in a line, what a person should know."""

    def __call__(self, text: str, /) -> None: ...


def no_progress(what: str, done: int, total: int, note: str = "") -> None:
    """Show nothing."""


def no_note(text: str, /) -> None:
    """Say nothing."""


def codec_of(base: str | Path | Codec) -> Codec:
    """A base's VAE and schedule: by name or folder, or as it was loaded."""
    return base if isinstance(base, Codec) else bases.load_codec(str(base))


def base_of(base: str | Path | Base) -> Base:
    """A whole base: by name or folder, or as it was loaded."""
    return base if isinstance(base, Base) else bases.load_base(str(base), device=choose_device())
