"""A copy of a safetensors file that says no more than a user of the model needs: the same tensors, another header.

Any safetensors file will do: an adapter of any program and kind, a ControlNet, a VAE, a whole checkpoint. Tensors are copied
as bytes, in the order of the file, and both files' are hashed before this returns; nothing is decoded, and nothing is kept in
memory but the header. What stays in the header is a list of what may: a note that no line here names goes.

Names of tensors stay, for without them the file cannot be loaded; a few programs put a name that somebody chose into them
(``bundle_emb.NAME``). Weights stay as they are, and with them whatever they have learned.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sfumato.adapters.notes import PATH, facts_of
from sfumato.core.errors import UserError
from sfumato.core.header import Header, header_bytes, read_header
from sfumato.core.outside import open_bytes, parse_json, printable

WHAT = "tensors as .safetensors"
LIMIT = 2**40
CHUNK = 2**22
LARGEST = 1e12  # number in PEFT's settings
LONGEST = 500  # characters of a note that stays
TRIGGER = "modelspec.trigger_phrase"  # where a trigger is written
NOTES = 2**22  # characters of all notes that are searched for a trigger

# What a user of the model may need, and the notes that say it. ``format`` names the library that wrote the tensors; loaders ask.
KEEP: dict[str, tuple[str, ...]] = {
    "trigger": ("modelspec.trigger_phrase", "trained_words"),
    "base": (
        "ss_base_model_version", "ss_v2", "modelspec.architecture", "modelspec.implementation", "modelspec.sai_model_spec",
        "modelspec.resolution", "modelspec.prediction_type", "modelspec.timestep_range", "modelspec.encoder_layer",
    ),
    "rank": ("ss_network_dim", "ss_network_module"),
    "alpha": ("ss_network_alpha",),
    "license": ("modelspec.license",),
    "title": ("modelspec.title", "ss_output_name", "name"),
    "author": ("modelspec.author",),
    "hash": ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash"),
    "base-name": ("ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash", "ss_vae_name", "ss_vae_hash", "ss_new_vae_hash"),
    "steps": ("ss_steps", "ss_epoch", "training_info"),
}  # fmt: skip
# What a note that stays looks like: else it holds something of somebody's own, and goes. The others are texts by their nature.
_SHAPES = {
    **dict.fromkeys(("ss_network_dim", "ss_network_alpha"), r"[0-9.e+-]{1,20}|None|Dynamic"),
    "ss_v2": r"[Tt]rue|[Ff]alse", "ss_network_module": r"(networks|lycoris|library)[\w.]{0,60}", "ss_base_model_version": r"[\w.+-]{1,40}",
    "modelspec.architecture": r"[\w.+/-]{1,80}", "modelspec.implementation": r"(https?://)?[\w./+-]{1,120}",
    "modelspec.sai_model_spec": r"[0-9.]{1,12}", "modelspec.resolution": r"[0-9]{1,5}(x[0-9]{1,5})?",
    "modelspec.prediction_type": r"[\w-]{1,30}", "modelspec.timestep_range": r"[0-9]{1,5}, ?[0-9]{1,5}",
    "modelspec.encoder_layer": r"-?[0-9]{1,3}", "modelspec.license": r"[\w .,:;+()/'&-]{1,120}",
    "format": r"pt|tf|flax|np|numpy|mlx|torch|paddle",
}  # fmt: skip
_SHAPE = {note: re.compile(said) for note, said in _SHAPES.items()}
_WORD = re.compile(r"\S{1,200}")  # a name or a pattern of modules, in PEFT's settings
USUAL = ("trigger", "base", "rank", "alpha", "license")
ALWAYS = ("format",)
# PEFT's settings, as one note or as ``adapter_config.json``: what the weights cannot be read without. Names of models and tasks go.
SETTINGS = ("lora_adapter_metadata", "adapter_config", "peft_config")
_OF_PEFT = frozenset((
    "r", "alpha", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "use_dora", "peft_type", "bias",
    "lora_bias", "fan_in_fan_out",
    "modules_to_save", "layers_to_transform", "layers_pattern", "exclude_modules", "target_parameters", "rank_dropout",
    "module_dropout", "decompose_both", "decompose_factor", "use_effective_conv2d", "init_weights", "oft_block_size", "boft_block_size",
    "boft_block_num", "boft_n_butterfly_factor", "block_share", "coft", "eps", "init_lora_weights",
))  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Scrubbed:
    """What a file's clean copy leaves out.

    Attributes:
        kept, dropped: names of notes. A note of PEFT's settings of which a part went is in both.
        hidden: bytes that belonged to no tensor.
        tensors: their number.
        sha256: of all tensors' bytes, each with its name, type and shape: the same of both files.
        lost: triggers that stood in names of folders and the like alone, and are not in the copy: its users need them.
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    hidden: int
    tensors: int
    sha256: str
    lost: tuple[str, ...] = ()


def scrub(path: Path, out: Path | None, *, keep: Iterable[str] = USUAL, trigger: str | None = None) -> Scrubbed:
    """Write a clean copy of ``path`` to ``out``, whole or not at all; with ``out`` None only say what it would leave out.

    Args:
        path: a safetensors file.
        out: the copy; ``path`` itself is replaced.
        keep: what stays of ``KEEP``.
        trigger: words to write as the trigger, in place of what the header says.

    Raises:
        UserError: a trigger that no header should hold; no safetensors file, a word that is not in ``KEEP``,
            tensors that overlap, or a copy that came out otherwise.
    """
    words = chosen(keep)
    with open_bytes(path, what=WHAT, limit=LIMIT) as (file, size):
        header, entries, begin = _read(file, size, str(path))
        notes = with_trigger(cleaned(header.notes, words, name=str(path)), trigger)
        places, at = {}, 0
        for name, (start, end) in sorted(entries.items(), key=lambda item: (*item[1], item[0])):
            places[name] = (start, end, at)
            at += end - start
        digest = _digest(file, header, {name: (begin + start, begin + end) for name, (start, end, _) in places.items()})
        if out is not None:
            _write(file, out, header, notes, places, begin, private=_private(path), expected=digest)
    changed = [key for key in header.notes if header.notes[key] != notes.get(key)]
    return Scrubbed(
        kept=tuple(sorted(notes)), dropped=tuple(sorted(changed)), hidden=header.hidden, tensors=len(header.tensors), sha256=digest,
        lost=lost(header, notes) if "trigger" in words else (),
    )  # fmt: skip


def chosen(keep: Iterable[str]) -> tuple[str, ...]:
    """The words of ``KEEP``, checked."""
    words = tuple(keep)
    if wrong := [word for word in words if word not in KEEP]:
        raise UserError(f"--keep {wrong[0]!r}", expected=f"some of {', '.join(KEEP)}, with commas between", fix="leave the others out")
    return words


def cleaned(notes: dict[str, str], keep: Iterable[str] = USUAL, *, name: str = "the file") -> dict[str, str]:
    """The notes that may stay, as they are, unless they hold a path or are not of their kind; of PEFT's settings what its loaders need."""
    stays = {*ALWAYS, *(note for word in keep for note in KEEP[word])}
    left = {key: value for key, value in notes.items() if key in stays and _may(key, value)}
    for key in SETTINGS:
        if key in notes and (said := settings(settings_in(notes[key]))):
            left[key] = json.dumps(said, sort_keys=True)
    return dict(sorted(left.items()))


def with_trigger(notes: dict[str, str], trigger: str | None) -> dict[str, str]:
    """The notes with ``trigger`` as the only one that they say; as they are where it is None.

    Raises:
        UserError: a trigger that is empty, too long, a path, or that moves a terminal's cursor.
    """
    if trigger is None:
        return notes
    if not trigger.strip() or not _may(TRIGGER, trigger):
        raise UserError(f"--trigger {trigger[:60]!r}", expected=f"one or a few words, at most {LONGEST} characters, and no path")
    return dict(sorted({**{key: value for key, value in notes.items() if key not in KEEP["trigger"]}, TRIGGER: trigger}.items()))


def lost(header: Header, notes: dict[str, str]) -> tuple[str, ...]:
    """Triggers that ``header`` tells and that stand nowhere in ``notes``: kohya's stand in names of folders alone."""
    said = sum(len(note) for note in header.notes.values())
    known = facts_of(header).get("triggers", []) if said <= NOTES else []
    kept = "\n".join(notes[key] for key in KEEP["trigger"] if key in notes)
    return tuple(word for word in known if word not in kept and _may(TRIGGER, word))


def _may(note: str, value: str) -> bool:
    """Whether a note that may stay holds what such a note holds."""
    shape = _SHAPE.get(note)
    return (
        len(value) <= LONGEST
        and printable(value) == value
        and not PATH.search(value)
        and (shape is None or shape.fullmatch(value) is not None)
    )


def settings_in(note: str) -> dict[str, Any]:
    """PEFT's settings in a note, as its loaders would read them; none where they would read none.

    Of a key that is there several times loaders take the last: what stood before is called ``KEY (before)``.
    """
    try:
        said = json.loads(note, object_pairs_hook=_all)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _all(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with what its own keys hide."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    hidden: dict[str, list[Any]] = {}
    for key, value in pairs:
        hidden.setdefault(key, []).append(value)
    return found | {f"{key} (before)": values[:-1] for key, values in hidden.items() if len(values) > 1}


def settings(said: dict[str, Any]) -> dict[str, Any]:
    """PEFT's settings without names of models, tasks and code; by part (``unet.r``) or for the whole file."""
    kept = {key: value for key, value in said.items() if key.rpartition(".")[2] in _OF_PEFT and _WORD.fullmatch(key) and _plain(value)}
    for key, value in kept.items():
        if key.endswith("init_lora_weights") and not (isinstance(value, bool) or value in ("gaussian", "pissa", "olora", "loftq", "eva")):
            kept[key] = True
    return kept


def _plain(value: Any) -> bool:
    """Numbers, names of modules, and lists and tables of such: no sentence, no path, nothing deeper."""
    several = value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else [value]
    return all(
        one is None or (isinstance(one, int | float) and abs(one) < LARGEST) or (
            isinstance(one, str) and _WORD.fullmatch(one) is not None and not PATH.search(one))
        for one in several
    )  # fmt: skip


def _read(file: BinaryIO, size: int, name: str) -> tuple[Header, dict[str, tuple[int, int]], int]:
    """The header, each tensor's place after it, and where that is."""
    start = file.read(9)
    start += file.read(max(0, header_bytes(start) - len(start)))
    header = read_header(start, name=name, size=size)
    length = int.from_bytes(start[:8], "little")
    said = parse_json(start[8 : 8 + length], name=name, what="header of a safetensors file")
    entries = {key: tuple(entry["data_offsets"]) for key, entry in said.items() if key != "__metadata__"}
    covered = 0
    for (begin, end), key in sorted((place, key) for key, place in entries.items()):
        if begin < covered and end > begin:
            raise UserError(f"{name}: {key[:80]} overlaps another tensor", expected="every tensor in a place of its own")
        covered = max(covered, end)
    return header, entries, 8 + length


def _digest(file: BinaryIO, header: Header, places: dict[str, tuple[int, int]]) -> str:
    """SHA-256 over every tensor's name, type, shape and bytes, by name."""
    found = hashlib.sha256()
    for name in sorted(places):
        kind, shape = header.tensors[name]
        one = hashlib.sha256()
        for part in _bytes(file, *places[name]):
            one.update(part)
        found.update(json.dumps([name, kind, shape, one.hexdigest()]).encode())
    return found.hexdigest()


def _bytes(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    file.seek(begin)
    while begin < end:
        part = file.read(min(CHUNK, end - begin))
        if not part:
            raise UserError(f"{file.name}: ends at byte {begin}", expected=f"{end}, as its header says", fix="fetch the file again")
        begin += len(part)
        yield part


def _write(
    file: BinaryIO, out: Path, header: Header, notes: dict[str, str], places: dict[str, tuple[int, int, int]], begin: int, *,
    private: bool, expected: str,
) -> None:  # fmt: skip
    """Write the copy aside, read its tensors back, and put it where it belongs if they are the same."""
    from sfumato.core.artifact import as_usual, sync_file, sync_folder

    said: dict[str, Any] = {"__metadata__": notes} if notes else {}
    for name, (start, end, at) in places.items():
        kind, shape = header.tensors[name]
        said[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + end - start]}
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "w+b") as copy:
            copy.write(len(text).to_bytes(8, "little") + text)
            for start, end, _ in places.values():
                for part in _bytes(file, begin + start, begin + end):
                    copy.write(part)
            copy.flush()
            written, entries, body = _read_again(copy, aside)
            if _digest(copy, written, {name: (body + a, body + b) for name, (a, b) in entries.items()}) != expected or written.hidden:
                raise UserError(f"{out}: the copy's tensors are not the file's", expected="the same, by hash", fix="is the disk sound?")
        sync_file(Path(aside))
        if not private:
            as_usual(Path(aside))
        os.replace(aside, out)
        sync_folder(out.parent)
    except OSError as error:
        raise UserError(f"{out} could not be written: {error.strerror}", fix="free some space or choose another folder") from error
    finally:
        Path(aside).unlink(missing_ok=True)


def _read_again(copy: BinaryIO, name: str) -> tuple[Header, dict[str, tuple[int, int]], int]:
    size = copy.seek(0, os.SEEK_END)
    copy.seek(0)
    return _read(copy, size, name)


def _private(path: Path) -> bool:
    """Whether others may not read it: then they may not read its copy."""
    return not path.stat().st_mode & 0o044
