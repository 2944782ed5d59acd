"""What one safetensors file says beside its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfumato.adapters import notes as reading
from sfumato.adapters import scrub, thumbnails
from sfumato.core.errors import UserError
from sfumato.core.header import Header, header_bytes, read_header
from sfumato.core.outside import open_bytes
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
SENTENCE = 3  # words from which on a text is shown
_USER = re.compile(r"(?:/home/|/Users/|[A-Za-z]:[\\/]+Users[\\/]+|\\Users\\)([^\s\\/\"',;]+)")
_NOBODY = frozenset(("user", "users", "public", "runner", "root", "ubuntu", "jovyan", "admin", "default", "shared"))
_OF_TRAINING = re.compile(r"(ss|modelspec|sshs)[_.].+|training_info|software|version|ot_\w+|trained_words|name|framework")
WHO, WHICH = "who or what is in the weights", "whether a given picture was trained on"
OPEN = (
    Untested(what=WHO, why="no base was given", how="sfumato audit FILE --base BASE"),
    Untested(
        what=WHICH, why="the private pictures were not given",
        how="sfumato audit FILE --base BASE --private PICTURES --holdout OTHERS",
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
    read = _short(header.notes)
    pictures = thumbnails.pictures(header.notes)
    facts = reading.facts_of(replace(header, notes=read))
    where = {kind: sorted({_note(key, header) for key in keys}) for kind, keys in facts.pop("read_from").items()}
    findings, said, texts_said = [], set[str](), set[str]()
    stays = scrub.cleaned(header.notes)

    def note(rule: str, texts: Iterable[str], keys: Iterable[str]) -> None:
        several = list(texts)
        findings.append(found(rule, shown, several, place=", ".join(sorted(set(keys)))))
        said.update(keys)
        texts_said.update(several)

    if set(facts.get("tags", ())) <= {word for key in scrub.KEEP["trigger"] if key in stays for word in reading.texts_of(stays[key])}:
        facts.pop("tags", None)  # nothing but the trigger, which is said as such
    by_rule: dict[str, tuple[list[str], set[str]]] = {}
    for kind, rule in _RULE.items():
        value, keys = facts.get(kind), where.get(kind, [])
        if value is None or all(stays.get(key) == header.notes[key] for key in keys):
            continue
        texts = [str(text) for text in value] if isinstance(value, list | dict) else [f"{kind.replace('_', ' ')}: {value}"]
        known = by_rule.setdefault(rule, ([], set()))
        known[0].extend(texts)
        known[1].update(keys)
    for rule, (texts, places) in by_rule.items():
        note(rule, texts, places)
    if facts.get("triggers"):
        note("trigger", facts["triggers"], where["triggers"])
        if odd := [key for key in scrub.KEEP["trigger"] if key in read and key not in stays]:
            note("free-text", [read[key] for key in odd], odd)  # too long for a trigger, or it moves a terminal's cursor
    for picture in pictures:
        note("header-picture", [f"{picture.suffix}, {len(picture.data)} bytes"], [picture.note])
    if "thumbnail" in facts and "modelspec.thumbnail" not in said:
        note("header-picture", [f"{facts['thumbnail']['characters']} characters"], ["modelspec.thumbnail"])
    if long := sorted(header.notes.keys() - read.keys() - said):
        note("long-note", [f"{key}: {len(header.notes[key])} characters, {header.notes[key][:60]}" for key in long], long)
    paths = facts.get("paths", [])
    users = [path for path in paths if accounts([path])]
    if users:
        note("user-path", users, where["paths"])
    if others := [path for path in paths if path not in users]:
        note("path", others, where["paths"])
    findings += _beyond(read, said, texts_said, stays, shown)
    findings += _people(read, header, held, stays, shown)
    if header.hidden:
        findings.append(found("hidden-bytes", shown, [f"{header.hidden} bytes"]))
    if header.beside:
        findings.append(found("hidden-bytes", shown, [f"{key}: {more}" for key, more in header.beside.items()], place="entries of tensors"))
    if chosen := weights.chosen_names(header):
        findings.append(found("tensor-name", shown, chosen))
    if held.what == "cached latents":
        findings.append(found("cached-latents", shown, sorted(header.tensors)))
    if held.what == "an optimiser's memory":
        findings.append(found("optimizer", shown))
    return findings + _rest(header, shown, header.notes.keys() - said, stays)


NOTE, NOTES = 2**20, 2**22  # characters of one note, and of all, that are read: beyond them a note is named, with its beginning
TENSORS = 2000  # names of tensors that no known layer has, searched for people
PEOPLE = 2**19  # characters that are searched for people


def _short(notes: dict[str, str]) -> dict[str, str]:
    """The notes that are read whole: the shortest first, until it is enough."""
    left, read = NOTES, {}
    for key in sorted(notes, key=lambda key: len(notes[key])):
        left -= len(notes[key])
        if left < 0 or len(notes[key]) > NOTE:
            break
        read[key] = notes[key]
    return read


def _beyond(read: dict[str, str], said: set[str], texts: set[str], stays: dict[str, str], shown: str) -> list[Finding]:
    """Sentences in notes of several entries that no finding shows: what a program writes there is not known in every version."""
    findings = []
    for key in sorted(said & read.keys() - stays.keys()):
        several = reading.texts_of(read[key])
        more = [text for text in several if text not in texts and len(text.split()) >= SENTENCE and not reading.PATH.search(text)]
        if len(several) > 1 and more:
            rule = "caption" if key in ("ss_tag_frequency", "ss_datasets") else "free-text"
            findings.append(found(rule, shown, more, place=f"{key}, other entries"))
    return findings


def _people(read: dict[str, str], header: Header, held: Weights, stays: dict[str, str], shown: str) -> list[Finding]:
    """Who is named: in what a scrub takes out, in what it leaves for users, and in names of tensors, which nothing takes out."""
    left, places = PEOPLE, dict[str, list[str]]()
    leaves = {note: word for word in scrub.USUAL for note in scrub.KEEP[word]}
    for key, note in read.items():
        gone = note != stays.get(key)
        if not gone and leaves.get(key) != "trigger":
            continue
        texts = reading.texts_of(note, keys=key in reading.FOLDERS) + ([key] if gone else [])
        for text in texts:
            left -= len(text)
            if left > 0:
                places.setdefault("texts of the notes" if gone else key, []).append(text)
    findings = []
    for place, texts in places.items():
        if named := people(texts):
            word = leaves.get(place)
            keep = ",".join(one for one in scrub.USUAL if one != word)
            findings.append(found("person", shown, named, place=place, more=f" --keep {keep}" if word else ""))
    odd = list(header.tensors)[:TENSORS] if held.what == weights.UNKNOWN else held.unknown[:TENSORS]
    names = [name.replace(".", "\n") for name in odd] + weights.chosen_names(header)
    if named := people(names):
        findings.append(found("person", shown, named, place="names of tensors", more=None))
    return findings


def _note(key: str, header: Header) -> str:
    """The note that ``training_info.step`` is in."""
    return key if key in header.notes else key.partition(".")[0]


def _rest(header: Header, shown: str, names: Iterable[str], stays: dict[str, str]) -> list[Finding]:
    """Of the notes that no finding names, those that a loader does not need."""
    findings: list[Finding] = []
    several: dict[str, list[str]] = {}
    for name in sorted(name for name in names if header.notes[name] != stays.get(name)):
        if name in scrub.SETTINGS and (said := scrub.settings_in(header.notes[name])):
            findings += of_settings(said, shown, place=name)
            continue
        rule = "lineage" if name in _LINEAGE else "settings" if _OF_TRAINING.fullmatch(name) else "other-note"
        several.setdefault(rule, []).append(name)
    for rule, keys in several.items():
        findings.append(found(rule, shown, [f"{key}: {header.notes[key][:200]}" for key in keys], place=", ".join(keys[:40])))
    return findings


_LINEAGE = frozenset(scrub.KEEP["base-name"])


def of_settings(said: Any, shown: str, *, place: str = "") -> list[Finding]:
    """What PEFT's settings say beyond what loading takes: the name of a base, a task, a class."""
    if not isinstance(said, dict):
        return [found("other-note", shown, [str(said)[:1000]], place=place)]
    kept = scrub.settings(said)
    gone = {key: value for key, value in said.items() if key not in kept and _own(key, value)}
    texts = [f"{key}: {value}" for key, value in gone.items()]
    users = [text for text in texts if accounts([text])]
    findings = [found("user-path", shown, users, place=place)] if users else []
    rest = [text for text in texts if text not in users]
    return findings + ([found("adapter-settings", shown, rest, place=place)] if rest else [])


def _own(key: str, value: Any) -> bool:
    """Whether a setting is of somebody's own choosing: a text, or several, or no usual number. PEFT writes some into every file."""
    if isinstance(value, int | float):
        return not abs(value) < scrub.LARGEST
    return isinstance(value, str | list | dict) and value not in ("", {}, [], "megatron.core") and not key.endswith("peft_version")


def accounts(texts: list[str]) -> list[str]:
    """Names of accounts in paths, without those that are nobody's."""
    return [name for text in texts for name in _USER.findall(text) if name.lower() not in _NOBODY]
