"""What a file's header gives away: captions, folders, counts, times, comments, trigger words, a picture.

Trainers write them into the notes (kohya's ``ss_*``, the model specification's ``modelspec.*``, OneTrainer's ``ot_config``,
ai-toolkit's ``training_info``). Nothing here needs the weights.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sfumato.core.header import Header

# Texts, and under which names trainers write them.
TEXTS = {
    "output_name": ("ss_output_name", "modelspec.title"),
    "comments": ("ss_training_comment", "modelspec.description", "modelspec.usage_hint", "modelspec.tags"),
    "author": ("modelspec.author",),
    "triggers": ("modelspec.trigger_phrase", "trained_words"),
    "base": ("ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash", "ss_vae_name", "ss_base_model_version"),
    "seed": ("ss_seed",),
    "session": ("ss_session_id",),
    "made": ("modelspec.date",),
}
# Numbers: a note of its own, or one number of a note that holds several (ai-toolkit's training_info).
NUMBERS = {
    "steps": ("ss_steps", "training_info.step", "training_info.steps", "training_info.global_step", "ss_max_train_steps"),
    "epochs": ("ss_epoch", "training_info.epoch", "training_info.epochs", "ss_num_epochs", "ot_config.epochs"),
    "pictures_with_repeats": ("ss_num_train_images",),
    "regularisation_pictures": ("ss_num_reg_images",),
}
TIMES = {"started": "ss_training_started_at", "finished": "ss_training_finished_at"}
FOLDERS = ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency")  # objects by name of folder
# Facts that tell of who or what was trained on; the others tell of the training alone.
TELLING = (
    "triggers", "captions", "tags", "sample_prompts", "comments", "author", "output_name", "folders", "paths", "thumbnail", "hidden_bytes",
)  # fmt: skip
_SENTENCE = 3  # words from which on a tag is called a caption
PATH = re.compile(r"(?<![\w:/.\\])(?:[A-Za-z]:[\\/]+|\\{2,4}|//|~?/|(?:file|s3|gs|az|hf)://+)(?:[^\s\"'\\/,;]+[\\/]+)+[^\s\"'\\/,;]*")
_REPEATS = re.compile(r"\d+_(.+)")  # kohya's folders: how often its pictures are repeated, and what they show


def facts_of(header: Header) -> dict[str, Any]:
    """What a header gives away, by kind; kinds that it says nothing of are left out."""
    notes = header.notes
    objects = {key: found for key, value in notes.items() if (found := _json(value)) is not None}
    facts: dict[str, Any] = {}
    where: dict[str, list[str]] = {}

    def note(kind: str, value: Any, *keys: str) -> None:
        if value or value == 0:
            facts[kind] = value
            where[kind] = sorted({key for key in keys if key in notes or _inside(objects, key) is not None})

    for kind, keys in TEXTS.items():
        note(kind, list(dict.fromkeys(notes[key] for key in keys if notes.get(key) not in (None, "", "None"))), *keys)
    for kind, keys in NUMBERS.items():
        numbers = (_number(notes.get(key, _inside(objects, key))) for key in keys)
        note(kind, next((number for number in numbers if number is not None), None), *keys)
    for kind, key in TIMES.items():
        note(kind, _time(notes.get(key, "")), key)

    stand_in = _stand_in(objects, facts.get("triggers", []))
    if stand_in:
        objects = {key: found for key, found in objects.items() if key != "ss_tag_frequency"}
        note("triggers", list(dict.fromkeys([*facts.get("triggers", []), *stand_in])), *TEXTS["triggers"])
        where["triggers"] = sorted({*where["triggers"], "ss_tag_frequency"})
    tags = _tags(objects)
    note("tags", dict(tags.most_common()), "ss_tag_frequency", "ss_datasets")
    note("captions", [tag for tag, _ in tags.most_common() if len(tag.split()) >= _SENTENCE], "ss_tag_frequency", "ss_datasets")
    subsets = [subset for subset in _walk(objects.get("ss_datasets")) if "img_count" in subset or "image_dir" in subset]
    named = [name for key in FOLDERS if isinstance(objects.get(key), dict) for name in objects[key]]
    named += [str(subset[key]) for subset in subsets for key in ("image_dir", "metadata_file") if subset.get(key)]
    note("folders", list(dict.fromkeys(named)), *FOLDERS, "ss_datasets")
    note("pictures", _pictures(objects.get("ss_dataset_dirs"), subsets), "ss_dataset_dirs", "ss_datasets")
    of_class = objects.get("ss_reg_dataset_dirs") or ()
    words = [str(subset["class_tokens"]) for subset in subsets if subset.get("class_tokens") and not subset.get("is_reg")]
    left_out = {*of_class, *(str(subset["image_dir"]) for subset in subsets if subset.get("is_reg") and subset.get("image_dir"))}
    shown = [match[1] for name in named if name not in left_out and (match := _REPEATS.fullmatch(name))]
    words += [word for word in shown if not any(other.endswith(f" {word}") for other in shown)]  # "dog" beside "zwx dog" is the class
    if words:
        note("triggers", list(dict.fromkeys([*facts.get("triggers", []), *words])), *TEXTS["triggers"], *FOLDERS, "ss_datasets")
    prompts = {key: [part["prompt"] for part in _walk(found) if isinstance(part.get("prompt"), str)] for key, found in objects.items()}
    note("sample_prompts", _different(prompts), *(key for key, found in prompts.items() if found))
    thumbnail = notes.get("modelspec.thumbnail", "")
    note(
        "thumbnail",
        {"type": thumbnail[5:].partition(";")[0][:40], "characters": len(thumbnail)} if thumbnail else None,
        "modelspec.thumbnail",
    )
    paths = {key: [_plain(path) for path in PATH.findall(value)] for key, value in notes.items() if key != "modelspec.thumbnail"}
    note("paths", _different(paths), *(key for key, found in paths.items() if found))
    note("hidden_bytes", header.hidden or None)
    return {**facts, "notes": sorted(notes), "read_from": where}


def texts_of(note: str, *, keys: bool = True) -> list[str]:
    """Every text in a note: the note itself or, where it holds an object or a list, each text in it, at any depth.

    ``keys`` counts all keys in, too; else those with a space alone, for a program names entries without.
    """
    found = _json(note)
    if found is None:
        return [note]
    texts: dict[str, None] = {}
    waiting: deque[Any] = deque([found])
    while waiting:
        one = waiting.popleft()
        if isinstance(one, str):
            texts[one] = None
        elif isinstance(one, dict):
            texts |= dict.fromkeys(key for key in one if keys or " " in key)
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return list(texts)


_ANY = ("trigger", "triggers", "dataset", "tags", "1")  # what programs without folders put where kohya's have a folder's name


def _stand_in(objects: dict[str, Any], triggers: list[str]) -> list[str]:
    """The trigger where ``ss_tag_frequency`` holds it alone, under its own name or none: no folder was called so. Other programs write it
    for those that look for a trigger there. kohya's own files name their folders elsewhere, too."""
    said = objects.get("ss_tag_frequency")
    if not isinstance(said, dict) or len(said) != 1 or any(key in objects for key in ("ss_dataset_dirs", "ss_datasets")):
        return []
    ((name, tags),) = said.items()
    words = list(tags) if isinstance(tags, dict) else []
    shown = match[1] if (match := _REPEATS.fullmatch(name)) else name
    alone = len(words) == 1 and tags[words[0]] == 1
    return words if alone and (shown == words[0] or (shown in _ANY and words[0] in triggers)) else []


def _inside(objects: dict[str, Any], key: str) -> Any:
    """``training_info.step``: one entry of a note that is an object."""
    note, _, entry = key.partition(".")
    found = objects.get(note)
    return found.get(entry) if isinstance(found, dict) else None


def _number(value: Any) -> int | None:
    """A count from 0 to 10^12 - 1, written as a number or in digits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    said = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(said) if re.fullmatch(r"[0-9]{1,12}", said) else None


def _plain(path: str) -> str:
    """A path with single backslashes, which JSON doubles, but for the two that go before a server's name."""
    return ("\\" if path.startswith("\\\\") else "") + re.sub(r"\\+", r"\\", path)


def _different(found: dict[str, list[str]]) -> list[str]:
    """What was found under any name, each once."""
    return list(dict.fromkeys(text for texts in found.values() for text in texts))


def _json(text: str) -> dict[str, Any] | list[Any] | None:
    """An object or a list, where a note holds one."""
    if text[:1] not in "{[":
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a parsed note, at any depth."""
    waiting = deque([value])
    while waiting:
        one = waiting.popleft()
        if isinstance(one, dict):
            yield one
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []


def _tags(objects: dict[str, Any]) -> Counter[str]:
    """How often each tag occurs: kohya splits captions at commas alone, so that a sentence without one is there whole."""
    places = [objects.get("ss_tag_frequency"), *(part.get("tag_frequency") for part in _walk(objects.get("ss_datasets")))]
    most: Counter[str] = Counter()
    for place in places:
        here: Counter[str] = Counter()
        for folder in place.values() if isinstance(place, dict) else []:
            for tag, count in folder.items() if isinstance(folder, dict) else []:
                here[tag.strip()] += count if isinstance(count, int) else 1
        most |= here  # the same frequencies are often written in both places
    return most


def _pictures(folders: Any, subsets: list[dict[str, Any]]) -> int | None:
    """The number of different pictures, without those of the class and without repeats."""
    counts = [entry.get("img_count") for entry in folders.values() if isinstance(entry, dict)] if isinstance(folders, dict) else []
    counts = counts or [subset.get("img_count") for subset in subsets if not subset.get("is_reg")]
    known = [count for count in counts if isinstance(count, int)]
    return sum(known) if known else None


def _time(text: str) -> str | None:
    """Seconds since 1970 as a date, UTC."""
    try:
        return datetime.fromtimestamp(float(text), UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
