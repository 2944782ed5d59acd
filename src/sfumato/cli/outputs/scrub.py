"""What ``sfumato scrub --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.adapters.scrub import Scrubbed
from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class Scrub(Output):
    """What a clean copy leaves out.

    Attributes:
        out: the copy; null where nothing was written.
        files: of each file that was cleaned, its notes kept and dropped, hidden bytes and the hash of its tensors.
        copied: files of a folder that are as they were.
        left_out: files of a folder that are not in the copy, and why.
        bad: files of a folder that should be in it and could not be read, and why.
    """

    out: str | None
    files: dict[str, Scrubbed]
    copied: tuple[str, ...]
    left_out: dict[str, str]
    bad: dict[str, str]


OUTPUTS = (Scrub,)
