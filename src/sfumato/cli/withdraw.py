"""``sfumato withdraw``: the owner says that sealed records never left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sfumato.owner.withdraw import Withdrawn


def command(
    records: Annotated[Path, typer.Argument(help="A folder that sfumato seal wrote here; or where it lay, if you removed it.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Say it without being asked: nothing of these records ever left this machine.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the records as well. Without it they stay, and are marked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; takes --yes.")] = False,
) -> None:
    """Say that records never left this machine, so that their pictures can be sealed again.

    The ledger keeps what you said, and later manifests say how many releases were withdrawn. If a copy did leave, do not withdraw:
    what you seal later would claim to hide more than it does.
    """
    from sfumato.cli import _output
    from sfumato.core.errors import UserError
    from sfumato.owner import withdraw

    found = withdraw.find(records)
    if not yes:
        if as_json or not _output.answers():
            raise UserError("not confirmed", expected="--yes, or a person who answers", fix="give --yes if nothing of these records left")
        for line in _asked(found, delete):
            _output.say(line)
        if not _output.confirmed("Did nothing of these records ever leave this machine?"):
            raise UserError("not withdrawn: the records count as before")
    found = withdraw.withdraw(records, delete=delete)
    if as_json:
        from sfumato.cli.outputs.withdraw import Withdraw

        report = Withdraw(
            release=found.release,
            records=found.records,
            withdrawn_before=found.before,
            said=withdraw.SAID,
            deleted=tuple(str(one) for one in found.deleted),
            folder=str(records),
        )
        _output.emit(report)
        return
    again = "had been withdrawn before; nothing was added" if found.before else "withdrawn, on your word, which the ledger keeps"
    _output.say(
        f"{found.records} records of release {found.release[:12]}…: {again}. Their pictures can be sealed again, into another folder."
    )
    if delete:
        _output.say(f"deleted: {len(found.deleted)} files")
    elif found.manifest is not None:
        _output.say(f"{records} is still there, marked as withdrawn: nobody trains from it. It must not leave now. --delete deletes it.")


def _asked(found: Withdrawn, delete: bool) -> list[str]:
    listed = "" if found.manifest is None else f", {found.manifest.records} of them in this folder"
    return [
        f"{found.folder}: release {found.release[:12]}…, {found.records} records in the ledger{listed}.",
        "You are about to say that no copy of them left: none was uploaded, mailed, synced or kept in a backup that others can read.",
        "If one did, whoever holds it and what you seal later has two draws of the noise, and your guarantee does not count them both.",
        "The records will be deleted." if delete else "The records stay where they are and are marked: nobody trains from them.",
    ]
