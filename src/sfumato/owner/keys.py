"""An owner's keys: one signs manifests, one names pictures in the private ledger. Both stay on the owner's disk."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.core.artifact import write_atomic
from sfumato.core.errors import UserError
from sfumato.core.home import home
from sfumato.core.outside import read_bytes
from sfumato.records.manifest import OWNER_NAME

KEY_BYTES = 2**12


def owner_folder(owner: str, store: Path | None = None) -> Path:
    """Where ``owner`` keeps keys and ledger; made on first use, readable by the owner alone."""
    if not OWNER_NAME.fullmatch(owner):
        raise UserError(
            f"owner name {owner!r}",
            expected="letters, digits, dots, dashes; at most 64",
            privacy="the name travels in the manifest: choose one that you do not mind being read",
        )
    return _private((store or home()) / "owners" / owner)


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The owner's signing key, made on first use."""
    raw = _secret(folder / "signing.key")
    return Ed25519PrivateKey.from_private_bytes(raw)


def ledger_folder(store: Path | None = None) -> Path:
    """Where the ledger is kept: one for all owner names, because a picture under another name is still the same picture."""
    return _private((store or home()) / "ledger")


def ledger_key(folder: Path) -> bytes:
    """The key of the ledger's picture names: without it the ledger does not tell which pictures were released."""
    path = folder / "ledger.key"
    if not os.path.lexists(path) and (folder / "releases.jsonl").exists():
        raise UserError(
            f"{path}: gone, but releases are recorded beside it",
            fix="restore the key from a backup",
            privacy="without it no picture is recognised, and each could be released a second time",
        )
    return _secret(path)


def trials_folder(store: Path | None = None) -> Path:
    """Where trials lie, which must not leave this machine."""
    return _private((store or home()) / "trials")


def existing_signing_key(owner: str, store: Path | None = None) -> Ed25519PrivateKey | None:
    """The signing key of an owner who has one here; none is made."""
    path = (store or home()) / "owners" / owner / "signing.key"
    return signing_key(path.parent) if OWNER_NAME.fullmatch(owner) and path.is_file() else None


def existing_ledger(store: Path | None = None) -> tuple[Path, bytes] | None:
    """The ledger's folder and key for whoever only looks: nothing is made; None where either is not there."""
    folder = (store or home()) / "ledger"
    path = folder / "ledger.key"
    return (folder, _secret(path)) if path.is_file() else None


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        fix = "set SFUMATO_HOME to a folder of yours"
        raise UserError(f"{folder}: could not be made ({error.strerror})", expected="a folder for keys and ledgers", fix=fix) from error
    return folder


def _secret(path: Path) -> bytes:
    if not os.path.lexists(path):  # a link that leads nowhere is a key that is lost, not one to be made anew
        if path.name == "signing.key":
            key = Ed25519PrivateKey.generate()
            raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        else:
            raw = os.urandom(32)
        write_atomic(path, raw, private=True)  # temporary files are readable by their owner alone, and stay so
    raw = read_bytes(path, what="key of 32 bytes", limit=KEY_BYTES)
    if len(raw) != 32:
        raise UserError(f"{path}: {len(raw)} bytes", expected="a key of 32 bytes", fix="restore it from a backup; a new key is a new owner")
    return raw
