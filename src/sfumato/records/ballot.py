"""A ballot: noisy counts of the votes of one owner's pictures on one menu, signed. Less than a kilobyte.

It says which menu it is for, how much noise there is and for whom; never how many pictures or people
voted, which the noise covers as well.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sfumato.accounting import accountant, gaussian, votes
from sfumato.core.errors import RecordError, UserError
from sfumato.core.outside import parse_json, printable, read_bytes
from sfumato.records.manifest import OWNER_NAME, check_types

KIND, SCHEMA = "sfumato-ballot", 1
BYTES = 2**14
UNITS = {"person": "one person, with all their pictures here", "picture": "one picture"}
RELATION = "add-or-remove"
_SHA = re.compile(r"[0-9a-f]{64}")
_WIDTH = 3  # bytes of a count
LARGEST = 2 ** (8 * _WIDTH - 1) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Ballot:
    """What an owner sends.

    Attributes:
        owner, public_key: who signed it; the key in hexadecimal.
        menu: digest of the menu that it is for.
        unit: "person" or "picture": whose votes have norm 1 together.
        epsilon, delta: of all ``rounds`` ballots of this pool together.
        rounds: how many there will be.
        secure: whether the noise came from the system's secure source.
        counts: noisy counts ``(K,)`` in units of ``2**-votes.GRID_BITS``.
    """

    owner: str
    public_key: str
    menu: str
    unit: str
    epsilon: float
    delta: float
    rounds: int
    secure: bool
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        check_types(self, owner=str, public_key=str, menu=str, unit=str, rounds=int, secure=bool)
        if not OWNER_NAME.fullmatch(self.owner):
            raise ValueError(f"owner {self.owner[:80]!r}; expected letters, digits, dots and dashes, at most 64")
        if not _SHA.fullmatch(self.public_key) or not _SHA.fullmatch(self.menu):
            raise ValueError("a key or a menu that is not hexadecimal of its length")
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit[:40]!r}; expected {' or '.join(UNITS)}")
        if not all(type(one) in (int, float) and math.isfinite(one) for one in (self.epsilon, self.delta)):
            raise ValueError("epsilon and delta are finite numbers")
        votes.sigma(self.epsilon, self.delta, self.rounds)
        if len(self.counts) < 2 or any(type(one) is not int or abs(one) > LARGEST for one in self.counts):
            raise ValueError("counts that are no whole numbers in bounds, or fewer than two")

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise of each count, as the ballot claims it."""
        return votes.sigma(self.epsilon, self.delta, self.rounds)

    @property
    def mu(self) -> float:
        """mu of this one ballot, for its unit; infinite where the noise came from a seed."""
        return 1 / self.noise_multiplier if self.secure else math.inf

    @property
    def votes(self) -> np.ndarray:
        """The noisy counts, float64 ``(K,)``."""
        return np.array(self.counts, np.float64) / 2**votes.GRID_BITS


def clamped(counts: list[int]) -> tuple[int, ...]:
    """Counts as a ballot can carry them: what is beyond is brought to the edge, after the noise."""
    return tuple(max(-LARGEST, min(LARGEST, one)) for one in counts)


def pack(ballot: Ballot, key: Ed25519PrivateKey) -> bytes:
    """The signed file."""
    body = {"kind": KIND, "schema": SCHEMA, **asdict(ballot)}
    body["counts"] = base64.b64encode(b"".join(one.to_bytes(_WIDTH, "little", signed=True) for one in ballot.counts)).decode()
    return _canonical({**body, "signature": key.sign(_canonical(body)).hex()}) + b"\n"


def read(path: Path) -> Ballot:
    """Read a ballot and verify its signature.

    Raises:
        RecordError: not a ballot, unsigned, altered, or of another schema.
    """
    try:
        return parse(read_bytes(path, what="ballot", limit=BYTES), name=str(path))
    except RecordError:
        raise
    except UserError as error:
        raise RecordError(error.got, expected=error.expected, fix=error.fix) from error


def parse(data: bytes, *, name: str) -> Ballot:
    """The ballot in a file's bytes. Raises like ``read``."""
    body = parse_json(data, name=name, what="ballot")
    if not isinstance(body, dict) or body.get("kind") != KIND:
        raise RecordError(f"{name}: not a ballot", fix="pass a file that sfumato vote wrote")
    if body.get("schema") != SCHEMA:
        raise RecordError(f"{name}: schema {body.get('schema')!r}", expected=f"schema {SCHEMA}", fix="use the version that wrote it")
    signature = body.pop("signature", None)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(body["public_key"])).verify(bytes.fromhex(signature), _canonical(body))
    except (InvalidSignature, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{name}: the signature does not fit",
            fix="ask its owner for the file again; somebody or something changed it",
            privacy="its counts cannot be believed",
        ) from error
    try:
        fields = {key: value for key, value in body.items() if key not in ("kind", "schema")}
        fields["counts"] = _counts(fields["counts"])
        return Ballot(**fields)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise RecordError(f"{name}: malformed ({printable(str(error))[:300]})", fix="ask its owner to vote again") from error


def _counts(text: Any) -> tuple[int, ...]:
    raw = base64.b64decode(text, validate=True)
    if len(raw) % _WIDTH:
        raise ValueError("counts that are cut short")
    return tuple(int.from_bytes(raw[i : i + _WIDTH], "little", signed=True) for i in range(0, len(raw), _WIDTH))


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def card(ballot: Ballot, *, before: float = 0.0, unbounded: str = "") -> list[str]:
    """What a ballot guarantees, as a privacy card.

    Args:
        ballot: what leaves.
        before: mu, for its unit, of all else that left of the same people: sealed records, and
            ballots in other pools.
        unbounded: why that bounds nothing, where it does not.
    """
    unit, rounds = UNITS[ballot.unit], ballot.rounds
    said = [f"left: {len(ballot.counts)} noisy counts; no picture, caption, name, nor how many voted"]
    if not ballot.secure:
        return [*said, "guarantee: none (the noise can be repeated by whoever knows the seed)"]
    mu = ballot.mu * math.sqrt(rounds)
    said.append(_line(mu, ballot.delta, unit, f"the {rounds} ballots of this pool together" if rounds > 1 else "this one ballot"))
    if unbounded:
        said.append(f"with what left before: none ({unbounded}); the ballots add no more to it than stands above")
    elif before:
        said.append(_line(gaussian.compose([mu, before]), ballot.delta, unit, "with sealed records and other ballots of the same"))
    if ballot.unit == "picture":
        said.append("THE UNIT IS A PICTURE, NOT A PERSON: of somebody with k pictures here mu is k times as large")
    return said


def _line(mu: float, delta: float, unit: str, what: str) -> str:
    epsilon = gaussian.epsilon(delta, mu)
    note = " VACUOUS: it rules next to nothing out" if epsilon > accountant.VACUOUS else ""
    return f"{what}: epsilon {epsilon:.4g} at delta {delta:g}{note}; {accountant.identified(mu, unit)} [unit: {unit}; relation: {RELATION}]"
