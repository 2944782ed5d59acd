"""Who is who: the first key seen under an owner's name is remembered, and another key under that name is refused."""

from __future__ import annotations

from pathlib import Path

from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import RecordError
from sfumato.core.home import home as home
from sfumato.records.manifest import Manifest


def check_owner(manifest: Manifest, *, store: Path | None = None) -> bool:
    """Compare the manifest's key with the one remembered. Returns True when the owner is new. A look remembers nothing.

    Raises:
        RecordError: another key signed under this name before.
    """
    path, known = _known(store)
    if manifest.owner in known and known[manifest.owner] != manifest.public_key:
        raise RecordError(
            f"owner {manifest.owner!r} signed with key {manifest.public_key[:16]}…, known is {known[manifest.owner][:16]}…",
            expected="the key that this owner used before",
            fix=f"ask the owner; if the change is real, remove the line from {path}",
            privacy="a re-signed manifest may hide other settings than the owner chose",
        )
    return manifest.owner not in known


def remember_owner(manifest: Manifest, *, store: Path | None = None) -> bool:
    """As ``check_owner``; a new owner's key is remembered, and no other is taken under its name from then on."""
    new = check_owner(manifest, store=store)
    if new:
        path, known = _known(store)
        write_json(path, {**known, manifest.owner: manifest.public_key})
    return new


def _known(store: Path | None) -> tuple[Path, dict[str, str]]:
    path = (store or home()) / "known_owners.json"
    return path, read_json(path, what="list of known owners") if path.exists() else {}
