"""A clean copy of a folder: its weights with clean headers, the settings that loading takes, and nothing else."""

from __future__ import annotations

import errno
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfumato.adapters import scrub
from sfumato.adapters.scrub import Scrubbed
from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json, read_bytes
from sfumato.sharing import file as files
from sfumato.sharing import weights
from sfumato.sharing.folder import TEXT_BYTES, kind_of, walk
from sfumato.sharing.rules import RULES

_SETTINGS = re.compile(r"(adapter_config|model_index|config|scheduler_config|preprocessor_config|tokenizer_config|special_tokens_map"
                       r"|generation_config|sfumato|[\w.-]+\.safetensors\.index)\.json")  # fmt: skip
_WORDS = re.compile(r"vocab\.json|merges\.txt|tokenizer\.json|spiece\.model|tokenizer\.model|licen[cs]e[\w.-]*", re.IGNORECASE)
_NAMES = ("_name_or_path", "_commit_hash", "base_model_name_or_path", "name_or_path", "revision")
_AS_THEY_ARE = 2**26  # bytes


@dataclass
class Cleaned:
    """What a folder's copy holds and lacks."""

    cleaned: dict[str, Scrubbed] = field(default_factory=dict)
    copied: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


def folder(
    source: Path, out: Path | None, *, keep: Iterable[str], trigger: str | None = None,
    on_file: Callable[[str], None] = lambda name: None,
) -> Cleaned:  # fmt: skip
    """Write the copy to ``out``, whole or not at all; with ``out`` None only say what would be in it.

    A file that should be in it and cannot be read is in ``bad``, with why, and not in the copy.

    Args:
        source: the folder.
        out: the copy, which is replaced.
        keep: what stays in headers.
        trigger: words that each adapter's header names as its trigger.
        on_file: told about each file.

    Raises:
        UserError: ``out`` lies in ``source``, or there is nothing in it that can be shared.
    """
    words, done, copied = tuple(keep), Cleaned(), []
    scrub.with_trigger({}, trigger)
    if out is not None and out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{out}: inside {source}", expected="a place outside of what is copied")
    if out is None:
        aside = None
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
    try:
        for path, link in walk(source):
            name = path.relative_to(source).as_posix()
            on_file(name)
            target = None if aside is None else aside / name
            try:
                why = "a link" if link else _why(path, name)
                if why:
                    done.left_out[name] = why
                elif path.suffix.lower() == ".safetensors":
                    done.cleaned[name] = scrub.scrub(path, target, keep=words, trigger=trigger if _adapter(path) else None)
                else:
                    _copy(path, target)
                    copied.append(name)
            except UserError as error:
                if getattr(error.__cause__, "errno", None) in _OURS:
                    raise
                done.bad[name] = error.got
            except OSError as error:
                if error.errno in _OURS:
                    raise
                done.bad[name] = error.strerror or str(error)
        if not done.cleaned:
            first = next(iter(done.bad.items()), None)
            got = f"{source}: no weights in it that could be shared" + (f" ({first[0]}: {first[1]})" if first else "")
            raise UserError(got, expected="at least one safetensors file")
        if aside is not None and out is not None:
            _put(aside, out)
    finally:
        if aside is not None and aside.exists():
            shutil.rmtree(aside)
    done.copied = tuple(copied)
    return done


_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no room: the copy, not a file, is what is wrong


def _adapter(path: Path) -> bool:
    return bool(weights.of_header(files.header_of(path)).kinds)


def _copy(path: Path, target: Path | None) -> None:
    """A file beside the weights, without names where it holds settings."""
    data = _settings(path) if _SETTINGS.fullmatch(path.name) else read_bytes(path, what="a file", limit=_AS_THEY_ARE)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _put(aside: Path, out: Path) -> None:
    """Put the copy where it belongs; what was there goes only once the copy stands in its place."""
    aside.chmod(0o755)
    if not out.exists():
        aside.rename(out)
        return
    before = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".before"))
    out.rename(before / out.name)
    aside.rename(out)
    shutil.rmtree(before)


def _why(path: Path, name: str) -> str:
    """Why a file is left out; empty where it is not."""
    rule = kind_of(name)
    if rule:
        return RULES[rule].reveals
    if path.suffix.lower() == ".safetensors":
        held = weights.of_header(files.header_of(path))
        return RULES["cached-latents"].reveals if held.what == "cached latents" else (
            RULES["optimizer"].reveals if held.what == "an optimiser's memory" else "")  # fmt: skip
    if _SETTINGS.fullmatch(path.name) or _WORDS.fullmatch(path.name):
        size = path.stat().st_size
        return "" if size <= (TEXT_BYTES if _SETTINGS.fullmatch(path.name) else _AS_THEY_ARE) else f"{size} bytes: too large for what it is"
    return "Loading the model does not take it."


def _settings(path: Path) -> bytes:
    """Settings without names of models and folders."""
    said = parse_json(read_bytes(path, what="settings as JSON", limit=TEXT_BYTES), name=str(path), what="settings")
    if path.name == "adapter_config.json" and isinstance(said, dict):
        said = scrub.settings(said) | {"base_model_name_or_path": None}
    elif isinstance(said, dict):
        said = _without_names(said)
    return (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()


def _without_names(said: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if key not in _NAMES}
