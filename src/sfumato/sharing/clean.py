"""A clean copy of a folder: its weights with clean headers, the settings that loading takes, and nothing else."""

from __future__ import annotations

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


def folder(source: Path, out: Path | None, *, keep: Iterable[str], on_file: Callable[[str], None] = lambda name: None) -> Cleaned:
    """Write the copy to ``out``, whole or not at all; with ``out`` None only say what would be in it.

    Raises:
        UserError: ``out`` lies in ``source``, or a file of weights cannot be read.
    """
    words, done, copied = tuple(keep), Cleaned(), []
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
            why = "a link" if link else _why(path, name)
            if why:
                done.left_out[name] = why
                continue
            target = None if aside is None else aside / name
            if path.suffix.lower() == ".safetensors":
                done.cleaned[name] = scrub.scrub(path, target, keep=words)
                continue
            data = _settings(path) if _SETTINGS.fullmatch(path.name) else read_bytes(path, what="a file", limit=_AS_THEY_ARE)
            copied.append(name)
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        if not done.cleaned:
            raise UserError(f"{source}: no weights in it that could be shared", expected="at least one safetensors file")
        if aside is not None and out is not None:
            if out.exists():
                shutil.rmtree(out)
            aside.chmod(0o755)
            aside.rename(out)
    finally:
        if aside is not None and aside.exists():
            shutil.rmtree(aside)
    done.copied = tuple(copied)
    return done


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
