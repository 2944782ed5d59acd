"""What one safetensors file says beside its weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sfumato.adapters import notes as reading
from sfumato.adapters import scrub, thumbnails
from sfumato.core.errors import UserError
from sfumato.core.header import Header, header_bytes, read_header
from sfumato.core.outside import open_bytes, parse_json
from sfumato.sharing import weights
from sfumato.sharing.finding import Finding, Untested
from sfumato.sharing.people import people
from sfumato.sharing.rules import found
from sfumato.sharing.weights import Weights

# Which rule a kind of fact breaks; what the fact holds is shown.
_RULE = {
    "captions": "caption", "tags": "caption-words", "folders": "folder-name", "sample_prompts": "prompt", "comments": "free-text",
    "author": "author", "output_name": "output-name", "seed": "seed", "session": "session",
    **dict.fromkeys(("steps", "epochs", "pictures", "pictures_with_repeats", "regularisation_pictures"), "set-size"),
    **dict.fromkeys(("started", "finished", "made"), "time"),
}  # fmt: skip
_USER = re.compile(r"(?:/home/|/Users/|[A-Za-z]:[\\/]+Users[\\/]+|\\Users\\)([^\s\\/\"',;]+)")
_NOBODY = frozenset(("user", "users", "public", "runner", "root", "ubuntu", "jovyan", "admin", "default", "shared"))
_OF_TRAINING = re.compile(r"(ss|modelspec|sshs)[_.].+|training_info|software|version|ot_\w+|trained_words|name|framework")
OPEN = (
    Untested(
        what="who or what is in the weights", why="nobody asked a base or an attacker",
        how="sfumato attack-weights run FILE --base BASE",
    ),
    Untested(
        what="whether a given picture was trained on", why="the private pictures were not given",
        how="sfumato attack-weights run FILE --truth PICTURES",
    ),
)  # fmt: skip


def header_of(path: Path) -> Header:
    """The header of a file, once its size and its first bytes say that it is one.

    Raises:
        UserError: no safetensors file; a pipe, a device or a folder, which are not read.
    """
    with open_bytes(path, what=scrub.WHAT, limit=scrub.LIMIT) as (file, size):
        start = file.read(9)
        start += file.read(max(0, header_bytes(start) - len(start)))
        return read_header(start, name=str(path), size=size)


def of_file(path: Path, shown: str = "") -> tuple[str, list[Finding], list[Untested]]:
    """What a file is, in a line; what it gives away; what stays open.

    Args:
        path: the file.
        shown: how it is called in findings.
    """
    shown = shown or str(path)
    try:
        header = header_of(path)
    except UserError as error:
        if "pickle" in error.got:
            return "a pickle", [found("pickle", shown)], [Untested(what=f"what {shown} holds", why="a pickle is not opened", asked=True)]
        return "not read", [], [Untested(what=f"what {shown} holds", why=error.got, how=error.fix, asked=True)]
    held = weights.of_header(header)
    return held.said, of_header(header, held, shown), list(OPEN) if held.kinds else []


def of_header(header: Header, held: Weights, shown: str) -> list[Finding]:
    """The findings of a header: each note is in one of them, or is one that a loader needs."""
    facts = reading.facts_of(header)
    where = {kind: sorted({_note(key, header) for key in keys}) for kind, keys in facts.pop("read_from").items()}
    names: list[str] = facts.pop("notes")
    findings, said = [], set[str]()

    def note(rule: str, texts: Any, keys: list[str], count: int | None = None) -> None:
        findings.append(found(rule, shown, texts, place=", ".join(keys), count=count))
        said.update(keys)

    for kind, rule in _RULE.items():
        value, keys = facts.get(kind), where.get(kind, [])
        gone = [key for key in keys if scrub.cleaned({key: header.notes[key]}).get(key) != header.notes[key]]
        if value is not None and gone:
            texts = value if isinstance(value, list | dict) else [value]
            note(rule, [str(text) for text in texts], keys)
    if facts.get("triggers"):
        note("trigger", facts["triggers"], where["triggers"])
    if "thumbnail" in facts:
        note("header-picture", [facts["thumbnail"]["type"]], where["thumbnail"])
    for picture in thumbnails.pictures(header.notes):
        if picture.note not in said:
            note("header-picture", [f"{picture.suffix}, {len(picture.data)} bytes"], [picture.note])
    paths = facts.get("paths", [])
    users = [path for path in paths if accounts([path])]
    if users:
        note("user-path", users, where["paths"])
    if others := [path for path in paths if path not in users]:
        note("path", others, where["paths"])
    texts = [text for kind in ("captions", "tags", "folders", "sample_prompts", "comments", "author", "output_name", "triggers")
             for text in facts.get(kind, [])]  # fmt: skip
    if named := people(texts):
        findings.append(found("person", shown, named, place="texts of the notes"))
    if "hidden_bytes" in facts:
        findings.append(found("hidden-bytes", shown, [f"{facts['hidden_bytes']} bytes"]))
    if chosen := weights.chosen_names(header):
        findings.append(found("tensor-name", shown, chosen))
    if held.what == "cached latents":
        findings.append(found("cached-latents", shown, sorted(header.tensors)))
    if held.what == "an optimiser's memory":
        findings.append(found("optimizer", shown))
    return findings + _rest(header, shown, set(names) - said)


def _note(key: str, header: Header) -> str:
    """The note that ``training_info.step`` is in."""
    return key if key in header.notes else key.partition(".")[0]


def _rest(header: Header, shown: str, names: set[str]) -> list[Finding]:
    """Of the notes that no finding names, those that a loader does not need."""
    stays = scrub.cleaned(header.notes)
    gone = sorted(name for name in names if header.notes[name] != stays.get(name))
    lineage = [name for name in gone if name in scrub.KEEP["base-name"]]
    settings = [name for name in gone if name in scrub.SETTINGS]
    training = [name for name in gone if name not in (*lineage, *settings) and _OF_TRAINING.fullmatch(name)]
    other = [name for name in gone if name not in {*lineage, *settings, *training}]
    findings = []
    for name in settings:
        findings += of_settings(parse_json(header.notes[name], name=shown, what="PEFT's settings"), shown, place=name)
    for rule, several in (("lineage", lineage), ("settings", training), ("other-note", other)):
        if several:
            texts = [f"{name}: {header.notes[name]}" for name in several]
            findings.append(found(rule, shown, texts, place=", ".join(several)))
    return findings


def of_settings(said: Any, shown: str, *, place: str = "") -> list[Finding]:
    """What PEFT's settings say beyond what loading takes: the name of a base, a task, a class."""
    if not isinstance(said, dict):
        return [found("other-note", shown, [str(said)], place=place)]
    gone = {key: value for key, value in said.items() if key not in scrub.settings(said) and value not in (None, "", False, True, {}, [])}
    texts = [f"{key}: {value}" for key, value in gone.items()]
    users = [text for text in texts if accounts([text])]
    findings = [found("user-path", shown, users, place=place)] if users else []
    rest = [text for text in texts if text not in users]
    return findings + ([found("adapter-settings", shown, rest, place=place)] if rest else [])


def accounts(texts: list[str]) -> list[str]:
    """Names of accounts in paths, without those that are nobody's."""
    return [name for text in texts for name in _USER.findall(text) if name.lower() not in _NOBODY]
