"""Errors that say what was got, what was expected, how to mend it and what it means for privacy."""

from __future__ import annotations


class UserError(ValueError):
    """Something the caller can mend. ``str()`` gives the four parts, one line each."""

    def __init__(self, got: str, *, expected: str = "", fix: str = "", privacy: str = "") -> None:
        self.got, self.expected, self.fix, self.privacy = got, expected, fix, privacy
        lines = [got, expected and f"expected: {expected}", fix and f"fix: {fix}", privacy and f"privacy: {privacy}"]
        super().__init__("\n".join(line for line in lines if line))


class RecordError(UserError):
    """A manifest or shard that must not be used."""


class PrivacyError(UserError):
    """Going on would void a guarantee that was given before."""
