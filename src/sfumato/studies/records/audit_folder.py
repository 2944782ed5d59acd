"""Where an audit lies: it holds true pictures and what attackers made of them, so it is private,
and never beside what is uploaded."""

from __future__ import annotations

from pathlib import Path

from sfumato.core.artifact import sha256
from sfumato.core.errors import UserError
from sfumato.core.home import home
from sfumato.records import manifest

FIGURES = "attack.json"
_OURS = frozenset({FIGURES, "attack.html", "attack.png", "pictures", "work"})


def default(records: Path, *settings: object) -> Path:
    """The place of an audit of ``records`` under ``settings``, the same each time:
    ``$SFUMATO_HOME/audits/NAME-HASH``.

    Raises:
        UserError: a folder without a manifest.
    """
    manifest.read(records)  # says what is wrong with a folder that holds no records
    said = sha256((records / manifest.NAME).read_bytes() + repr(settings).encode())
    return home() / "audits" / f"{records.resolve().name or 'records'}-{said[:10]}"


def check(out: Path, records: Path, pictures: Path) -> None:
    """Refuse a place from which true pictures would be uploaded, or sealed.

    Raises:
        UserError: ``out`` in the folder of records or of pictures, around one of them, or among
            other files.
    """
    where = out.resolve()
    for folder, what, why in (
        (records.resolve(), "records", "an audit holds your pictures, and all of a folder of records may leave your machine"),
        (pictures.resolve(), "pictures", "what attackers made would be sealed with them the next time"),
    ):
        if where.is_relative_to(folder) or folder.is_relative_to(where):
            raise UserError(
                f"--out {out}: in the folder of {what}, or around it", expected="another folder, private to you",
                fix="leave --out away: the audit then goes where Sfumato keeps your keys", privacy=why,
            )  # fmt: skip
    if where.exists() and (not where.is_dir() or any(path.name not in _OURS and not path.name.startswith(".") for path in where.iterdir())):
        raise UserError(
            f"--out {out}: {'other files are in it' if where.is_dir() else 'a file'}", expected="a new folder, or that of an earlier audit",
            privacy="the folder is made private, which other files in it may not want",
        )  # fmt: skip
