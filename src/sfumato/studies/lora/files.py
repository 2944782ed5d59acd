"""Attack shared LoRA files: what the header says, what each attack draws, and with a line-up who it most likely is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sfumato.adapters import formats
from sfumato.adapters.lora import Adapter, check_fits
from sfumato.adapters.thumbnails import pictures as pictures_in
from sfumato.attacker.attempt import Effort, Failed
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights._autoencoder import Autoencoder
from sfumato.attacker.weights.base import Class, File, Guess, Published, Steps, Trigger
from sfumato.attacker.weights.network_autoencoder import Trained
from sfumato.core import faults
from sfumato.core.artifact import write_atomic, write_json
from sfumato.core.errors import UserError
from sfumato.core.header import read_header
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.features.efficientnet import features
from sfumato.judge.metrics.identity import judges
from sfumato.judge.metrics.recovery import feature_distance
from sfumato.judge.report import pages
from sfumato.owner.folder import read_folder
from sfumato.studies.lora import attacker, evaluate
from sfumato.studies.lora.candidates import rank, read_candidates
from sfumato.studies.lora.people import CLASS_PROMPT, PeopleConfig

PRIVATE, BASE = "private", "the base itself, same prompt"
ATTACKED = "attack.json"  # what came of attack_files


def attack_files(
    base: Base, files: list[Path], attackers: list[Path], out: Path, *, truth: Path | None = None, steps: int | None = None, seed: int = 0,
    prompt: str = CLASS_PROMPT, effort: Effort = "quick", candidates: Path | None = None, work: Path | None = None,
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Run trained attackers on shared files, the one that ships where none is named; a file that cannot be attacked is named, and the
    others go on. With ``candidates``, other pictures of people, also who of them it is, calibrated by public people's adapters in ``work``.

    Returns:
        by file what its header says; where the pictures are, which attacks ``failed``, and with ``truth`` how near each came, beside
        what the base itself draws; as ``line up`` who of the candidates comes first; or, as ``error``, why there are no pictures.
    """
    line_up = None if candidates is None else read_candidates(candidates, base=base)
    public = () if line_up is None or work is None else attacker.of_public(base, PeopleConfig(), work)
    encoders = attacker.named(base, attackers or [attacker.shipped(base)])
    real = None
    if truth is not None:
        real = np.stack([example.image() for example in read_folder(truth, size=base.size, condition="canny")])
    found: dict[str, Any] = {"files": {}, "attackers": {name: attacker.card(model) for name, model in encoders.items()}}
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for number, path in enumerate(files):
        tell(path.name, number, len(files))
        name = next(name for name in (path.name, str(path), f"{path} ({number + 1})") if name not in found["files"])
        sheet = out / (f"{path.stem}.png" if path.stem not in taken else f"{path.stem}-{number + 1}.png")
        taken.add(path.stem)
        answer: dict[str, Any] = {"header": {}}
        found["files"][name] = answer
        try:
            data = formats.read_file(path)
            answer["header"] = _header(data, effort=effort)
            answer["written out"] = _pictures(data, sheet)
            adapter = formats.parse(data, name=str(path), config=formats.config_beside(path))
            answer |= _one(
                base, adapter, encoders, sheet, header=answer["header"], real=real, steps=steps, seed=seed, prompt=prompt, effort=effort
            )  # fmt: skip
            if line_up is not None:
                known = Scenario(base, Published(formats.read(path)), Class(prompt), *public)
                answer["line up"] = rank(known, *line_up, effort=effort, seed=seed)
        except UserError as error:
            answer["error"] = str(error)
        except Exception as error:  # a fault of ours with this file takes nothing from the others
            answer["error"] = f"{path}: {faults.keep(error)}"
    write_json(out / ATTACKED, found)
    return found


def _header(data: bytes, *, effort: Effort) -> dict[str, Any]:
    """What a file says beside its weights: that needs none that can be used."""
    found = attacks.attempt("metadata", Scenario(File(data)), effort=effort)
    return (found.facts or {}) if isinstance(found, Guess) else {}


def _pictures(data: bytes, sheet: Path) -> list[str]:
    """Write the pictures of a header beside ``sheet``, for their owner to look at; what they are called says where they come from."""
    written = []
    for number, picture in enumerate(pictures_in(read_header(data).notes), 1):
        path = sheet.with_name(f"{sheet.stem}-header-picture-{number}.{picture.suffix}")
        write_atomic(path, picture.data, private=True)
        written.append(str(path))
    return written


def _one(base: Base, adapter: Adapter, encoders: dict[str, Autoencoder], sheet: Path, **how: Any) -> dict[str, Any]:
    """``attacked``, with the pictures written to ``sheet``."""
    answer, shown = attacked(base, adapter, encoders, **how)
    write_atomic(sheet, pages.png(pages.contact_sheet(shown)))
    return {**answer, "pictures": str(sheet)}


def attacked(
    base: Base, adapter: Adapter, encoders: dict[str, Autoencoder], *, header: dict[str, Any], real: np.ndarray | None,
    steps: int | None, seed: int, prompt: str, effort: Effort,
) -> tuple[dict[str, Any], list[tuple[str, np.ndarray]]]:  # fmt: skip
    """What anybody gets by sampling, with the trigger where the header gives it away; then what each encoder reads. One that comes to
    nothing takes nothing from the others.

    Args:
        base: that the adapter was trained on.
        adapter: the shared one.
        encoders: trained attackers by encoder.
        header: facts of the file's header, of which trigger and steps are used.
        real: private pictures uint8 ``(N, H, W, 3)``, to hold the guesses against.
        steps: for how many it was trained, where that is known otherwise.
        seed, prompt, effort: of the attacks.

    Returns:
        the answer, and rows of pictures: first, where ``real`` was given, these as ``PRIVATE`` and what the base draws as ``BASE``.

    Raises:
        UserError: the adapter is one of another base.
    """
    check_fits(adapter, base)
    known = Scenario(base, Published(adapter), Class(prompt))
    if (told := header.get("steps") if steps is None else steps) is not None:
        known = known.having(Steps(int(told)))
    rows = [(name, name, known) for name in ("prior_sampling:class_prompt", "prior_sampling:rare_tokens")]
    for trigger in header.get("triggers", [])[:1]:
        called = known.having(Trigger(f"{prompt.rpartition(' ')[0]} {trigger} {prompt.rpartition(' ')[2]}"))
        rows.append(("guided_extraction:plain, trigger of the header", "guided_extraction:plain", called))
    for name, model in encoders.items():
        kind = model.config.encoder
        rows.append((f"network_autoencoder:{name}", f"network_autoencoder:{kind}", known.having(Trained({kind: model}))))
    shown = [] if real is None else [(PRIVATE, real)]
    answer: dict[str, Any] = {"unknown keys": list(adapter.unknown), "scores": {}, "budget": {}, "failed": {}}
    if real is not None:
        shown.append((BASE, evaluate.drawn(base, prompt, effort, seed)))
        answer["scores"][BASE] = _near(shown[-1][1], real)
    for label, row, given in rows:
        guess = attacks.attempt(row, given, effort=effort, seed=seed)
        if not isinstance(guess, Guess) or guess.images is None:
            answer["failed"][label] = guess.cause if isinstance(guess, Failed) else str(guess)
            continue
        shown.append((label, guess.images))
        answer["budget"][label] = guess.budget
        if real is not None:
            answer["scores"][label] = _near(guess.images, real)
    return answer, shown


def _near(images: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Cosine of identities, and the EffLite0 distance to the nearest private picture: 0 is a copy."""
    own, other = (judges().embed(some).mean(axis=0) for some in (images, real))
    alike = float(own @ other / max(1e-12, np.linalg.norm(own) * np.linalg.norm(other)))
    a, b = (features(some, size=128) for some in (images, real))
    pairs = feature_distance(np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1)))
    return {"identity similarity": alike, "nearest private picture": float(pairs.min())}
