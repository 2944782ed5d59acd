"""An owner says that sealed records never left this machine: they count no more, and that this was said is kept.

Nobody can check it. So the ledger only gains a line, with the words and the time; later manifests say how many releases were withdrawn;
and the records are marked, or deleted where that is asked for, before the line is written: what is counted no more cannot be used either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from sfumato.core.errors import UserError
from sfumato.owner import keys, release_folder
from sfumato.owner.release_ledger import Entry, ReleaseLedger, locked
from sfumato.records import manifest as manifests
from sfumato.records.manifest import Manifest, ShardEntry

SAID = "nothing of this release ever left this machine"


@dataclass(frozen=True)
class Withdrawn:
    """A release that may be withdrawn, or was.

    Attributes:
        folder: where its records lie, or lay.
        release: its id in the ledger.
        records: how many the ledger counts, in all its shards.
        before: it was withdrawn earlier.
        manifest: None where the folder holds none: it was removed, or the seal was broken off.
        deleted: names of the files that were deleted.
    """

    folder: Path
    release: str
    records: int
    before: bool
    manifest: Manifest | None
    deleted: tuple[str, ...] = ()


def find(folder: Path, *, store: Path | None = None) -> Withdrawn:
    """The release in ``folder``, or the one that was sealed into it where it is gone. Nothing is changed.

    Raises:
        UserError: records of another owner, of another ledger, or a trial; or no records, and none known.
    """
    place = keys.existing_ledger(store)
    if place is None:
        raise UserError("no ledger on this machine", expected="the machine, and the SFUMATO_HOME, that sealed these records")
    return _find(folder, ReleaseLedger(*place, look=True), place[0], store)


def withdraw(folder: Path, *, delete: bool = False, store: Path | None = None) -> Withdrawn:
    """Count the release in ``folder`` no more. Once more changes nothing further.

    Args:
        folder: the records, or where they lay.
        delete: delete its manifest and shards as well; other files stay. Without it the manifest is signed anew as withdrawn.
        store: where keys and ledger live; ``$SFUMATO_HOME`` by default.

    Raises:
        UserError: as ``find``; or a file that could not be changed, and then the release counts as before.
    """
    find(folder, store=store)
    home = keys.ledger_folder(store)
    with locked(home):
        ledger = ReleaseLedger(home, keys.ledger_key(home))
        found = _find(folder, ledger, home, store)
        entries = ledger.of_release(found.release)
        if delete:
            found = replace(found, deleted=_delete(folder, entries, whole=found.manifest is not None))
        elif found.manifest is not None and found.manifest.standing == "release":
            key = keys.existing_signing_key(found.manifest.owner, store)
            assert key is not None
            manifests.write(replace(found.manifest, standing="withdrawn"), folder, key)
        ledger.withdraw(found.release, said=SAID)
    return found


def _find(folder: Path, ledger: ReleaseLedger, home: Path, store: Path | None) -> Withdrawn:
    manifest = manifests.read(folder) if os.path.lexists(folder / manifests.NAME) else None
    if manifest is None:
        release = release_folder.read_state(folder, release_folder.state_of(folder, home)).get("release")
        if release is None or not ledger.of_release(release):
            raise UserError(
                f"{folder}: no records, and none that this ledger counts were sealed into it",
                expected="a folder that sfumato seal wrote on this machine",
            )
    else:
        release = manifest.release
        _check(folder, manifest, ledger, store)
    records = sum(entry.records for entry in ledger.of_release(release))
    return Withdrawn(folder, release, records, release in ledger.withdrawn, manifest)


def _check(folder: Path, manifest: Manifest, ledger: ReleaseLedger, store: Path | None) -> None:
    if manifest.standing == "trial":
        raise UserError(f"{folder}: a trial", expected="a release", fix="remove the folder: a trial is not counted")
    key = keys.existing_signing_key(manifest.owner, store)
    if key is None or manifests.public_hex(key) != manifest.public_key:
        raise UserError(
            f"{folder}: records of {manifest.owner!r}, whose key is not on this machine",
            expected="your own records, where they were sealed",
            privacy="only who sealed records can know that they never left",
        )
    if not {shard.sha256 for shard in manifest.shards} <= {entry.sha256 for entry in ledger.of_release(manifest.release)}:
        raise UserError(
            f"{folder}: records that are not in the ledger of this machine",
            expected="the machine, and the SFUMATO_HOME, that sealed them",
            fix="withdraw them there: it is that ledger which counts them",
        )


def _delete(folder: Path, entries: list[Entry], *, whole: bool) -> tuple[str, ...]:
    """Delete the files of a release, and its folder where nothing else is in it; what was deleted. The manifest goes first."""
    names = [manifests.NAME] * whole + [ShardEntry(sha256=e.sha256, records=e.records, bytes=e.bytes).file for e in entries]
    gone = []
    try:
        for path in (*(folder / name for name in names), *(release_folder.aside_of(folder) / name for name in names)):
            if os.path.lexists(path):
                path.unlink()
                gone.append(path.name)
        for place in (folder, release_folder.aside_of(folder)):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
    except OSError as error:
        raise UserError(
            f"{error.filename}: could not be deleted ({error.strerror})", fix="run the same command again where it can be",
            privacy="nothing was withdrawn: the release counts as before",
        ) from error  # fmt: skip
    return tuple(gone)
