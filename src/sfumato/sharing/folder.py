"""What an output folder gives away that is about to be pushed: files that should not be in it, and what is in those that should.

Names are looked at first, and only what may tell is opened: headers of tensors, notes of pictures, small texts. Links are not followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json, read_bytes
from sfumato.sharing import file as files
from sfumato.sharing import picture_notes, secrets
from sfumato.sharing.finding import SHOWN, Finding, Untested, shortened
from sfumato.sharing.rules import found

TEXT_BYTES = 2**20
TEXTS = 2000  # opened at most; the others are named as not read
PICTURES = 2000
_TEXT = frozenset((".json", ".yaml", ".yml", ".toml", ".md", ".txt", ".csv", ".jsonl", ".log", ".sh", ".bat", ".py", ".cfg", ".ini",
                   ".env", ".caption", "", ".html"))  # fmt: skip
_PICTURE = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".jfif"))
_PICKLE = frozenset((".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".msgpack", ".h5"))
# By path, lower case, in their order: the first that fits is it.
_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (rule, re.compile(said))
    for rule, said in (
        ("history", r"(.*/)?\.(git|hg|svn)/.*"),
        ("secret", r"(.*/)?(\.env(\..*)?|\.netrc|id_(rsa|ed25519|ecdsa)|.*\.pem|\.huggingface/token|credentials(\.json)?)"),
        ("cached-latents", r".*(_sd|_te|_sdxl|_flux|_sd3)?\.npz|.*(latent|vae)_cache/.*|.*_latents?\.(safetensors|pt|npy)"),
        ("logs", r"(.*/)?(events\.out\.tfevents\..*|hparams\.ya?ml|(logs|wandb|runs|tensorboard)/.*|.*\.log|lightning_logs/.*)"),
        ("checkpoint", r"(.*/)?((checkpoint|step|epoch)[-_]?\d+/.*|checkpoint\.safetensors|.*-step\d+\.safetensors)"),
        ("optimizer", r"(.*/)?(optimizer.*|scheduler\.bin|scaler\.pt|random_states.*|rng_state.*|trainer_state\.json|training_args\.bin)"),
        ("captions-file", r"(.*/)?(metadata\.(jsonl?|csv|parquet)|captions?/.*|.*\.captions?)"),
    )
)
_WEIGHTS = re.compile(r"(.*/)?(adapter_config|model_index|config|scheduler_config|preprocessor_config|tokenizer_config)\.json")
_SAMPLE = "by their place samples, which may copy training pictures"
_SAMPLES = re.compile(r"(.*/)?(samples?|validation|images?|outputs?|examples?|previews?)/.*|.*(sample|preview|example|thumb).*")


@dataclass
class Found:
    """What a walk found so far."""

    findings: list[Finding] = field(default_factory=list)
    untested: list[Untested] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    weights: list[str] = field(default_factory=list)
    texts: int = 0
    pictures: int = 0
    unread: int = 0
    places: dict[tuple[str, str, str], int] = field(default_factory=dict)  # of findings of many files, in ``findings``
    skipped: int = 0


def of_folder(folder: Path) -> tuple[str, Found]:
    """What a folder is, in a line, and what was found in it. Paths in findings are relative to it."""
    seen = Found()
    for path, link in walk(folder):
        shown = path.relative_to(folder).as_posix()
        if link:
            _link(path, folder, shown, seen)
            continue
        seen.files += 1
        try:
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode):
                seen.untested.append(Untested(what=f"what {shown} holds", why="not a file, but a pipe or a device", asked=True))
                continue
            seen.bytes += about.st_size
            _look(path, shown, seen)
        except (UserError, OSError) as error:
            seen.untested.append(Untested(what=f"what {shown} holds", why=str(error).splitlines()[0], asked=True))
    if seen.unread:
        how = f"at most {TEXTS} texts and {PICTURES} pictures are opened; audit the rest by folders"
        seen.untested.append(Untested(what=f"what {seen.unread} small files say", why="too many to open", how=how, asked=True))
    if seen.skipped:
        seen.untested.append(Untested(what=f"what {seen.skipped} files hold", why="of a kind that is not read, or larger than is opened"))
    if seen.texts and not secrets.installed():
        seen.untested.append(Untested(what="passwords and tokens in texts", why="detect-secrets is not installed",
                                      how='pip install "sfumato[audit]"'))  # fmt: skip
    held = f"; {', '.join(seen.weights[:3])}" if seen.weights else ""
    return f"a folder of {seen.files} files{held}", seen


def walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every file below ``folder`` by name, and whether it is a link. Links to folders are given, too, and not followed."""
    with os.scandir(folder) as entries:
        several = sorted(entries, key=lambda entry: entry.name)
    for entry in several:
        if entry.is_symlink():
            yield Path(entry.path), True
        elif entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        else:
            yield Path(entry.path), False


def kind_of(shown: str) -> str:
    """The rule that a file breaks by its name alone; empty where its name is innocent."""
    low = shown.lower()
    if rule := next((rule for rule, pattern in _NAMES if pattern.fullmatch(low)), ""):
        return rule
    suffix = Path(low).suffix
    if suffix in _PICTURE:
        return "training-pictures"
    if suffix in _PICKLE:
        return "pickle"
    return "hidden-file" if any(part.startswith(".") for part in shown.split("/")) else ""


def _look(path: Path, shown: str, seen: Found) -> None:
    rule, suffix = kind_of(shown), path.suffix.lower()
    if rule == "training-pictures" and _SAMPLES.fullmatch(shown.lower()):
        rule = ""  # drawn by the model, as far as its place tells; what it says of itself counts
        _once(seen, "training-pictures", shown, place=_SAMPLE)
    elif rule:
        _once(seen, rule, shown)
    if suffix in _PICTURE:
        seen.pictures += 1
        if seen.pictures > PICTURES:
            seen.unread += 1
            return
        seen.findings += picture_notes.of_picture(path, shown)
    elif suffix == ".safetensors":
        said, findings, open_ = files.of_file(path, shown)
        seen.findings += [one for one in findings if one.rule != rule]
        seen.untested += [one for one in open_ if one not in seen.untested]
        seen.weights.append(f"{shown}: {said}")
    elif rule not in ("history", "logs", "cached-latents", "optimizer", "pickle") and suffix in _TEXT:
        _text(path, shown, seen)
    elif not rule:
        seen.skipped += 1


def _once(seen: Found, rule: str, shown: str, *, place: str = "") -> None:
    """One finding a rule and folder: ten thousand files of a kind are one line."""
    folder = shown.rpartition("/")[0]
    top = (shown.split("/")[0] if rule in ("history", "logs", "checkpoint") and "/" in shown else folder) or "."
    number = seen.places.setdefault((rule, top, place), len(seen.findings))
    if number == len(seen.findings):
        seen.findings.append(found(rule, top, [shown], place=place))
        return
    one = seen.findings[number]
    examples = one.examples if len(one.examples) >= SHOWN else (*one.examples, shown)
    seen.findings[number] = replace(one, examples=shortened(examples), count=one.count + 1)


def _text(path: Path, shown: str, seen: Found) -> None:
    seen.texts += 1
    if seen.texts > TEXTS:
        seen.unread += 1
        return
    if path.lstat().st_size > TEXT_BYTES:
        seen.skipped += 1
        return
    data = read_bytes(path, what="a text", limit=TEXT_BYTES)
    if b"\0" in data[:1000]:
        seen.skipped += 1
        return
    text = data.decode("utf-8", errors="replace")
    seen.findings += [found("secret", shown, [kind], place=f"line {line}") for line, kind in secrets.secrets(text)]
    if path.name == "adapter_config.json":
        seen.findings += files.of_settings(parse_json(text, name=shown, what="PEFT's settings"), shown)
    elif users := files.accounts([text]):
        seen.findings.append(found("user-path", shown, users))
    if path.suffix.lower() in (".txt", ".caption") and any(path.with_suffix(end).exists() for end in _PICTURE):
        _once(seen, "captions-file", shown)


def _link(path: Path, folder: Path, shown: str, seen: Found) -> None:
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(folder.resolve()):
        seen.findings.append(found("link-out", shown))
