"""What ``sfumato inspect --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sfumato.api.audit_records import AuditOfClaims
from sfumato.cli.outputs._base import Output
from sfumato.cli.outputs.train import SharedFile
from sfumato.records.record import SealSettings


@dataclass(frozen=True, kw_only=True)
class FieldShape:
    """What one field of a record is.

    Attributes:
        dtype: of its numbers.
        shape: channels, height and width.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Inspect(Output):
    """What is in a folder of records.

    Attributes:
        owner, key, key_is_new_here: who signed it, and whether this machine knows the key.
        standing, withdrawn_releases: ``release``, ``trial`` or ``withdrawn``; releases of these pictures that were.
        records, shards, bytes_per_picture: how much there is.
        bad, not_in_manifest: shards that are damaged, and files that do not belong there.
        fields: what a record holds, by name.
        settings, secure_noise, base, privacy: what is claimed.
        unchecked: why the noise could not be compared with the base's; empty where it could.
        audit: of what is claimed; null without ``--audit``.
        selftest: of this version's mechanism, with ``--selftest``; it says nothing of these records.
        picture, picture_error: where it was drawn, or why it was not.
    """

    owner: str
    standing: str
    withdrawn_releases: int
    key: str
    key_is_new_here: bool
    records: int
    shards: int
    bad: tuple[str, ...]
    not_in_manifest: tuple[str, ...]
    fields: dict[str, FieldShape]
    bytes_per_picture: float
    settings: SealSettings
    secure_noise: bool
    base: dict[str, Any]
    privacy: dict[str, Any]
    unchecked: str
    audit: AuditOfClaims | None
    selftest: dict[str, Any] | None
    picture: str | None
    picture_error: str | None


@dataclass(frozen=True, kw_only=True)
class BallotSeen(Output):
    """What is in a ballot, by its own words.

    Attributes:
        owner, public_key, key_is_new_here: who signed it, and whether this machine knows the key.
        menu: digest of the menu that it is for.
        unit, epsilon, delta, rounds: what is claimed of all ballots together.
        secure: whether the noise came from the system's secure source.
        counts: noisy, one for each cluster.
        card: the privacy card, in lines.
    """

    owner: str
    public_key: str
    key_is_new_here: bool
    menu: str
    unit: str
    epsilon: float
    delta: float
    rounds: int
    secure: bool
    counts: tuple[float, ...]
    card: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ControlnetSeen(Output):
    """What would be shared of a trained ControlNet.

    Attributes:
        controlnet: the folder.
        files: each of them, and whether it belongs there.
    """

    controlnet: str
    files: tuple[SharedFile, ...]


OUTPUTS = (Inspect, BallotSeen, ControlnetSeen)
