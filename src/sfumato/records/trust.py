"""Who is who: the first key seen under an owner's name is remembered, and another key under that name is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import RecordError, UserError
from sfumato.core.home import home
from sfumato.core.lock import held

KEY = re.compile("[0-9a-f]{64}")
LOCK_SECONDS = 20.0


class Signed(Protocol):
    """What an owner signed: a manifest, or a ballot."""

    @property
    def owner(self) -> str:
        """The name that it was signed under."""
        ...

    @property
    def public_key(self) -> str:
        """The key, hexadecimal."""
        ...


def check_owner(signed: Signed, *, store: Path | None = None) -> bool:
    """Compare the key of what was signed with the one remembered. Returns True when the owner is new. A look remembers nothing.

    Raises:
        RecordError: another key signed under this name before.
    """
    path, known = _known(store)
    if signed.owner in known and known[signed.owner] != signed.public_key:
        raise RecordError(
            f"owner {signed.owner!r} signed with key {signed.public_key[:16]}…, known is {known[signed.owner][:16]}…",
            expected="the key that this owner used before",
            fix=f"ask the owner; if the change is real, remove the line from {path}",
            privacy="a re-signed manifest may hide other settings than the owner chose",
        )
    return signed.owner not in known


def remember_owner(signed: Signed, *, store: Path | None = None) -> bool:
    """As ``check_owner``; a new owner's key is remembered, and no other is taken under its name from then on."""
    folder = store or home()
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / "known_owners.lock", what="look at the known owners", wait=LOCK_SECONDS):
        new = check_owner(signed, store=store)
        if new:
            path, known = _known(store)
            write_json(path, {**known, signed.owner: signed.public_key})
    return new


def _known(store: Path | None) -> tuple[Path, dict[str, str]]:
    path = (store or home()) / "known_owners.json"
    if not os.path.lexists(path):
        return path, {}
    found = read_json(path, what="list of known owners")
    if not isinstance(found, dict) or not all(isinstance(key, str) and KEY.fullmatch(key) for key in found.values()):
        raise UserError(
            f"{path}: the list of known owners is damaged",
            expected="an object: each owner's name with its key of 64 hexadecimal digits",
            fix="restore it from a backup",
            privacy="without it a key under a known name would be taken for that owner's",
        )
    return path, found
