"""The signed statement that makes a folder of shards usable: what was done, how often, by whom. Written last.

It never holds file names, captions, time stamps, hashes of private inputs or noise seeds.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import RecordError, UserError
from sfumato.core.outside import printable
from sfumato.records import privacy
from sfumato.records.record import SCHEMA, SealSettings

NAME = "manifest.json"
OWNER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KINDS = {"release": "sfumato-records", "trial": "sfumato-trial", "withdrawn": "sfumato-withdrawn"}  # by standing, as signed
_SHA = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RELEASE = re.compile(r"[0-9a-f]{32}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}((a|b|rc|\.dev|\.post)[0-9]{1,6}){0,2}")
_BASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard: its SHA-256 (its name, too), its number of records and its bytes."""

    sha256: str
    records: int
    bytes: int

    def __post_init__(self) -> None:
        check_types(self, sha256=str, records=int, bytes=int)
        if not _SHA.fullmatch(self.sha256) or not 0 < self.records <= 65536 or not 0 < self.bytes <= 2**31:
            raise RecordError(
                f"shard entry {self.sha256[:80]!r} with {self.records} records and {self.bytes} bytes",
                expected="a SHA-256 and sizes in bounds",
            )

    @property
    def file(self) -> str:
        return f"{self.sha256}.safetensors"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a server may know about a release before it opens a shard.

    ``standing`` is "release"; or "trial" or "withdrawn", which nobody trains from. It is signed as the kind of the file, so that a reader
    that does not know it refuses the file.
    """

    owner: str
    public_key: str
    release: str
    base: dict[str, Any]
    shape: tuple[int, ...]
    settings: SealSettings
    shards: tuple[ShardEntry, ...]
    privacy: dict[str, Any]
    secure_noise: bool
    version: str
    scheme: str = "sealed"
    standing: str = "release"

    def __post_init__(self) -> None:
        check_types(self, owner=str, public_key=str, release=str, base=dict, privacy=dict, secure_noise=bool, version=str, scheme=str)
        check_types(self.settings, condition=str)
        if not OWNER_NAME.fullmatch(self.owner):
            raise ValueError(f"owner {self.owner[:80]!r}; expected letters, digits, dots and dashes, at most 64")
        if not _WORD.fullmatch(self.settings.condition):
            raise ValueError("condition is not a plain word")
        if not _RELEASE.fullmatch(self.release) or not _SHA.fullmatch(self.public_key):
            raise ValueError("release or public key is not hexadecimal of its length")
        if not _VERSION.fullmatch(self.version):
            raise ValueError(f"version {self.version[:40]!r}; expected one such as 0.1.0")
        if self.standing not in KINDS:
            raise ValueError(f"standing {self.standing!r}; expected {', '.join(KINDS)}")
        if self.scheme != "sealed":
            raise ValueError(f"scheme {self.scheme[:40]!r}; expected 'sealed'")
        if set(self.base) != {"name", "fingerprint"} or not all(type(value) is str for value in self.base.values()):
            raise ValueError("base is not a name and a fingerprint, and nothing else")
        if not _BASE.fullmatch(self.base["name"]) or not _SHA.fullmatch(self.base["fingerprint"]):
            raise ValueError(f"base {self.base['name'][:80]!r}; expected a plain name or owner/name, and a SHA-256")
        privacy.check(self.privacy, self.settings, secure=self.secure_noise)
        if len(self.shape) != 3 or not all(isinstance(n, int) and 0 < n <= 4096 for n in self.shape):
            raise ValueError(f"shape {self.shape}")
        if not 0 < len(self.shards) <= 65536 or len({s.sha256 for s in self.shards}) < len(self.shards):
            raise ValueError(f"{len(self.shards)} shards, expected at least one and none twice")

    @property
    def records(self) -> int:
        """The number of records."""
        return sum(shard.records for shard in self.shards)

    @property
    def bytes_per_picture(self) -> float:
        """Bytes that left the owner for each picture, framing included."""
        return sum(shard.bytes for shard in self.shards) / max(1, self.records)

    def body(self) -> dict[str, Any]:
        """The JSON that is signed."""
        value = asdict(self)
        return json.loads(json.dumps({"kind": KINDS[value.pop("standing")], "schema": SCHEMA, **value}))


def base_name(name: str) -> str:
    """A base's name as a manifest may carry it: whatever else a folder's name says is left out."""
    if _BASE.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64] or "base"


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public half of an owner's key, hexadecimal."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def write(manifest: Manifest, folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign and write the manifest; from then on the release is complete."""
    body = manifest.body()
    write_json(folder / NAME, {**body, "signature": key.sign(_canonical(body)).hex()})


def read(folder: Path) -> Manifest:
    """Read a manifest and verify its signature.

    Raises:
        RecordError: not a manifest, unsigned, altered, or of another schema.
    """
    path = inside(folder, NAME)
    try:
        body = read_json(path, what="manifest of sealed records")
    except UserError as error:
        raise RecordError(error.got, expected=error.expected, fix=error.fix) from error
    if not isinstance(body, dict) or body.get("kind") not in list(KINDS.values()):
        raise RecordError(f"{path}: not a manifest of sealed records", fix="pass a folder that sfumato seal wrote")
    if body.get("schema") != SCHEMA:
        raise RecordError(
            f"{path}: schema {body.get('schema')!r}", expected=f"schema {SCHEMA}", fix="use the version of sfumato that sealed it"
        )
    signature = body.pop("signature", None)
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise RecordError(
            f"{path}: unsigned",
            expected="an Ed25519 signature",
            fix="ask the owner to seal again",
            privacy="nobody vouches for these settings",
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(body["public_key"])).verify(bytes.fromhex(signature), _canonical(body))
    except (InvalidSignature, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(
            f"{path}: the signature does not fit",
            fix="fetch it again; somebody or something changed it",
            privacy="its settings cannot be believed",
        ) from error
    return _parse(body, path)


def inside(folder: Path, name: str) -> Path:
    """The path of a file of a release; a link that leads out of the folder is refused before anything is opened."""
    path = folder / name
    try:
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself
        leads_out = True
    if leads_out:
        raise RecordError(f"{name}: a link that leads out of {folder}", fix="copy the file itself into the folder")
    return path


def _parse(body: dict[str, Any], path: Path) -> Manifest:
    try:
        fields = {k: v for k, v in body.items() if k not in ("kind", "schema")}
        fields["settings"] = SealSettings(**fields["settings"])
        fields["shards"] = tuple(ShardEntry(**s) for s in fields["shards"])
        fields["shape"] = tuple(fields["shape"])
        return Manifest(**fields, standing=next(standing for standing, kind in KINDS.items() if kind == body["kind"]))
    except RecordError:
        raise
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
        raise RecordError(f"{path}: malformed ({printable(str(error))[:400]})", fix="ask the owner to seal again") from error


def check_types(value: object, **types: type) -> None:
    """Refuse fields of another type; a boolean is no number."""
    for name, kind in types.items():
        found = getattr(value, name)
        if type(found) is not kind:
            raise ValueError(f"{name} is {type(found).__name__}, expected {kind.__name__}")


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
