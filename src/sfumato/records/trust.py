"""Who is who: the first key seen under an owner's name is remembered, and another key under that name is refused."""

from __future__ import annotations

import os
from pathlib import Path

from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import RecordError
from sfumato.records.manifest import Manifest


def home() -> Path:
    """Where keys, ledgers and known owners are kept: ``$SFUMATO_HOME`` or ``~/.sfumato``."""
    return Path(os.environ.get("SFUMATO_HOME") or Path.home() / ".sfumato")


def check_owner(manifest: Manifest, *, store: Path | None = None, remember: bool = True) -> bool:
    """Compare the manifest's key with the one remembered. Returns True when the owner is new, and remembers its key if asked to.

    Raises:
        RecordError: another key signed under this name before.
    """
    path = (store or home()) / "known_owners.json"
    known: dict[str, str] = read_json(path, what="list of known owners") if path.exists() else {}
    if manifest.owner in known and known[manifest.owner] != manifest.public_key:
        raise RecordError(
            f"owner {manifest.owner!r} signed with key {manifest.public_key[:16]}…, known is {known[manifest.owner][:16]}…",
            expected="the key that this owner used before",
            fix=f"ask the owner; if the change is real, remove the line from {path}",
            privacy="a re-signed manifest may hide other settings than the owner chose",
        )
    if manifest.owner in known:
        return False
    if remember:
        write_json(path, {**known, manifest.owner: manifest.public_key})
    return True
