"""The folder of a release while it is written: it and the ledger agree after a kill at any moment."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from sfumato.core.artifact import read_json, sha256, sync_file, write_json
from sfumato.core.errors import PrivacyError, UserError
from sfumato.owner.picture_file import CROPS, Crop
from sfumato.owner.release_ledger import Entry, ReleaseLedger
from sfumato.records.manifest import NAME, ShardEntry

PERSON, CROPPED = "largest_person", "crop"


def state_of(out: Path, ledger_home: Path, *, trial: bool = False) -> Path:
    """Where it is kept which release, or trial, lies in ``out``: beside the ledger, so records never meet another owner's ledger."""
    return ledger_home / "folders" / f"{sha256(str(out.resolve()).encode())}{'.trial' if trial else ''}.json"


def read_state(out: Path, state: Path) -> dict[str, Any]:
    """What is kept of ``out``: its release, settings and key; empty where nothing was sealed into it.

    Raises:
        UserError: it is damaged.
    """
    found = read_json(state, what="state of a release") if os.path.lexists(state) else {}
    if not isinstance(found, dict) or (found and not isinstance(found.get("release"), str)):
        raise UserError(
            f"{state}: the state of a release is damaged",
            fix=f"restore it from a backup; or, if {out} was removed too, remove it",
            privacy="without it nobody knows which release is in the folder",
        )
    return found


def open_release(out: Path, ledger_home: Path, ledger: ReleaseLedger, wanted: dict[str, object], *, trial: bool = False) -> str:
    """The random id that ties ``out`` to its lines in ``ledger``, which is that of trials for a ``trial``."""
    state = state_of(out, ledger_home, trial=trial)
    wanted = json.loads(json.dumps(wanted))
    found = read_state(out, state)
    id_ = str(found.get("release"))
    if id_ in ledger.withdrawn and _holds(out):
        raise UserError(
            f"{out}: holds records that were withdrawn",
            expected="a new or empty folder",
            fix=f"sfumato withdraw {out} --delete, or another folder",
            privacy="what was withdrawn is counted no more, and must not be uploaded with what is",
        )
    # A trial that its owner has removed is gone for good; a release that was removed is still one.
    begun = bool(ledger.of_release(id_)) and id_ not in ledger.withdrawn and (not trial or _holds(out) or _holds(aside_of(out)))
    if not begun:  # nothing was released into this folder yet
        if _holds(out) and not trial and state_of(out, ledger_home, trial=True).exists() and not found:
            raise UserError(
                f"{out}: holds a trial",
                expected="a new or empty folder",
                fix="seal into another folder; a trial stays where it is, or is removed",
                privacy="a trial is another draw of the noise, and must not leave this machine",
            )
        # What waits aside of a folder that this ledger knows was never counted: it is dropped and drawn anew.
        for_others = (out,) if found else (out, aside_of(out))
        if any(_holds(folder) for folder in for_others):
            raise UserError(
                f"{out}: not empty, and not a release in this ledger",
                expected="a new or empty folder",
                fix=f"choose another folder (or remove {aside_of(out).name} beside it, if a seal was broken off before its first shard)",
                privacy="records of another ledger may hold the same pictures: two draws in one place show more than one",
            )
        found = {**wanted, "release": secrets.token_hex(16)}
        write_json(state, found)
    unknown = {} if CROPPED in found else {CROPPED: wanted.get(CROPPED)}  # of an earlier version
    if {k: (found | unknown).get(k) for k in wanted} != wanted:
        raise UserError(
            f"{out}: holds a release with other settings (--crop among them), by another owner or for another base",
            fix="use the same settings to go on, or another output folder",
            privacy="mixing settings would make the manifest's statement wrong",
        )
    for folder in (out, aside_of(out)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: could not be made ({error.strerror})", fix="choose another folder") from error
    if _disk(out) != _disk(aside_of(out)):
        aside_of(out).rmdir()
        raise UserError(
            f"{out}: the top of a disk of its own",
            expected="a folder on the same disk as its parent: shards wait beside it until they are counted",
            fix=f"name a folder in it: {out / 'records'}",
            privacy="nothing was released",
        )
    return str(found["release"])


def remember_person(out: Path, ledger_home: Path, most: int | None, *, trial: bool = False) -> int | None:
    """Keep how many pictures the person with most has, the most of all runs into ``out``; nobody but the owner learns it."""
    state = state_of(out, ledger_home, trial=trial)
    found = read_state(out, state)
    before = _person(found)
    most = max(before or 0, most or 0) or None
    if most != before:
        write_json(state, {**found, PERSON: most})
    return most


def person_of(release: str, ledger_home: Path) -> int | None:
    """What ``remember_person`` keeps of a release, wherever its folder is now; None where nobody knows."""
    return _person(_kept_of(release, ledger_home))


def crop_of(release: str, ledger_home: Path) -> Crop | None:
    """How the pictures of a release were made square, wherever its folder is now; None where nobody knows.

    It is kept here, and not in the manifest: what shapes an owner's pictures have is nothing that a server needs.
    """
    found = _kept_of(release, ledger_home).get(CROPPED)
    return next((crop for crop in CROPS if crop == found), None)


def _kept_of(release: str, ledger_home: Path) -> dict[str, Any]:
    for state in sorted((ledger_home / "folders").glob("*.json")):
        with suppress(UserError):
            found = read_state(state, state)
            if found.get("release") == release:
                return found
    return {}


def _person(found: dict[str, Any]) -> int | None:
    most = found.get(PERSON)
    return most if type(most) is int and most > 0 else None


def _holds(place: Path) -> bool:
    """Whether something is there: a file, or a folder with anything in it."""
    return place.exists() and (not place.is_dir() or any(place.iterdir()))


def aside_of(out: Path) -> Path:
    """Where shards wait until they are counted: on the same disk, but not in the folder that leaves."""
    return out.resolve().parent / f".{out.resolve().name}.sealing"


def _disk(folder: Path) -> int:
    return folder.stat().st_dev


def recover(out: Path, aside: Path, entries: list[Entry], *, trial: bool = False) -> list[ShardEntry]:
    """Finish what a kill interrupted: name the shards that the ledger already counts, drop the one that it does not."""
    done = []
    for entry in entries:
        shard = ShardEntry(sha256=entry.sha256, records=entry.records, bytes=entry.bytes)
        if (aside / shard.file).exists():
            os.replace(aside / shard.file, out / shard.file)
        if trial and not (out / shard.file).exists():
            raise UserError(f"{out}: shard {shard.file} of this trial is gone", fix=f"remove {out} and seal the trial again")
        if not (out / shard.file).exists():
            raise PrivacyError(
                f"{out}: shard {shard.file} was released but is gone",
                fix="put it back; or sfumato withdraw this folder, if nothing of it ever left; or seal anew with --allow-rerelease",
                privacy="sealing its pictures again is a second release",
            )
        done.append(shard)
    for stray in (*aside.iterdir(), *out.glob(f".{NAME}.*.partial")):
        stray.unlink()
    unknown = {path.name for path in out.glob("*.safetensors")} - {shard.file for shard in done}
    if unknown:
        raise PrivacyError(
            f"{out}: {sorted(unknown)[0]} is not in this ledger",
            fix="seal into another folder",
            privacy="it may be another draw of the same pictures",
        )
    return done


def write_aside(path: Path, data: bytes) -> None:
    """Write a shard where it waits to be counted, and wait until it is on the disk."""
    try:
        with path.open("wb") as file:
            file.write(data)
        sync_file(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UserError(
            f"{path.parent}: a shard could not be written ({error.strerror})",
            fix="free some space and run the same command again",
            privacy="nothing of this shard was released",
        ) from error
