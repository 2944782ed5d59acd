"""``attack``: what an attacker gets from an owner's own records, before anybody else has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.api._common import OnNote, OnProgress, no_note, no_progress
from sfumato.attacker.attempt import EFFORTS, Effort
from sfumato.attacker.records import base as known
from sfumato.core.errors import UserError
from sfumato.diffusion.base import DEFAULT
from sfumato.judge.gates import Gate, place, thresholds
from sfumato.owner.picture_file import Crop, crop_of
from sfumato.studies import audit_folder, exposure
from sfumato.studies.exposure import ExposureConfig


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one attack came to.

    Attributes:
        attack: its name.
        outcome: ``scored``, or why there is no score: ``failed``, ``left out``, ``no channel``, ``not asked``, ...
        target: what it went for where it got most; empty without a score.
        score, low, high: how much of the target it got, with its 95 % interval; None without one.
        guess: what is got without any record.
        n: over how many people or pictures.
        why: what stood in the way, in words.
    """

    attack: str
    outcome: str
    target: str = ""
    score: float | None = None
    low: float | None = None
    high: float | None = None
    guess: float | None = None
    n: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What an audit by attacks found. It holds for the attacks that ran, and is no bound.

    Attributes:
        out: the private folder of the audit. It holds true pictures, and is never to be shared.
        page: what to look at.
        passed: whether all gates that could be asked passed; None where one could not be tested,
            or none could be asked, and none failed.
        headline: whether to upload, in a sentence.
        notes: what that does not cover.
        commands: to run next, with ``RECORDS`` and ``PICTURES`` for the folders.
        scores: of every attack.
        gates: what was asked, and what was found.
        records: how many there are.
        audited: how many of them were attacked.
        figures: all of it, as ``attack.json`` has it.
    """

    out: Path
    page: Path
    passed: bool | None
    headline: str
    notes: tuple[str, ...]
    commands: tuple[str, ...]
    scores: tuple[Score, ...]
    gates: tuple[Gate, ...]
    records: int
    audited: int
    figures: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """As the command ends: 0 passed, 1 a gate failed, 2 one could not be tested, or none could be asked."""
        return {True: 0, False: 1, None: 2}[self.passed]


def attack(
    records: str | Path,
    truth: str | Path,
    *,
    out: str | Path | None = None,
    attacks: str | Iterable[str] = "all",
    effort: Effort = "quick",
    gates: str | Path | None = None,
    public: str | Path | None = None,
    controlnet: str | Path | None = None,
    crop: Crop | None = None,
    base: str | Path = DEFAULT,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Attacked:
    """Attack your own records and see what comes back. Run again it goes on where it stopped.

    Args:
        records: a folder that ``seal`` wrote.
        truth: the folder that was sealed. It is read here and goes nowhere.
        out: where the report goes, a private folder; by default one in ``SFUMATO_HOME``.
        attacks: names of attacks; "all" for all.
        effort: ``glance`` (a minute), ``quick`` (an hour), ``full`` (several hours).
        gates: thresholds as TOML; None for those that ship.
        public: public pictures of the same kind to learn from; None for invented people, which
            suit the tiny base alone.
        controlnet: one that was trained from these records; None: one is trained here.
        crop: of the pictures in ``truth``, as ``seal`` was told. None: as this machine keeps it;
            where it keeps nothing of these records, the middle square.
        base: the base that they were sealed for.
        on_progress: told how far it is.
        on_note: told what a person should know.

    Raises:
        UserError: no such attack, records that are not of these pictures, another ``crop`` than
            they were sealed with, or an ``out`` from which pictures would get away.

    Examples:
        >>> how = {"attacks": "algebraic", "effort": "glance", "public": "public", "base": folder}
        >>> attacked = sfumato.attack("records", "pictures", **how)
        >>> attacked.audited, [score.attack for score in attacked.scores], attacked.page.exists()
        (4, ['algebraic'], True)
    """
    records, truth = Path(records), Path(truth)
    if effort not in EFFORTS:
        raise UserError(f"--effort {effort!r}", expected=" or ".join(EFFORTS))
    named = attacks if isinstance(attacks, str) else ",".join(attacks)
    config = ExposureConfig(
        attacks=known.chosen(named), effort=effort, base=str(base), public=_path(public), controlnet=_path(controlnet),
        crop=None if crop is None else crop_of(crop),
    )  # fmt: skip
    asked = thresholds(_path(gates))
    settings = (config.effort, config.base, str(config.public), str(config.controlnet), *([] if crop in (None, "center") else [crop]))
    where = audit_folder.default(records, *settings) if out is None else Path(out)
    on_note(f"The audit goes to {where}. It holds your pictures and what attackers made of them: it is private, and never to be shared.")
    command = " ".join(["sfumato attack", str(records), "--truth", str(truth), *([] if named == "all" else ["--attacks", named])])
    command += ("" if crop is None else f" --crop {crop}") + f" --effort {effort}"
    figures = exposure.run(
        records, truth, where, config, asked=asked, gates_from=place(_path(gates)), command=command, say=on_note, tell=on_progress
    )  # fmt: skip
    return _result(where, figures)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _result(out: Path, figures: dict[str, Any]) -> Attacked:
    verdict = figures["verdict"]
    return Attacked(
        out=out,
        page=out / "attack.html",
        passed=figures["passed"],
        headline=verdict["headline"],
        notes=tuple(verdict["notes"]),
        commands=tuple(verdict["commands"]),
        scores=tuple(_score(name, entry) for name, entry in figures["attacks"].items()),
        gates=tuple(Gate(**gate) for gate in figures["gates"]),
        records=figures["records"],
        audited=figures["audited"],
        figures=figures,
    )


def _score(name: str, entry: dict[str, Any]) -> Score:
    if entry["outcome"] != "scored":
        return Score(attack=name, outcome=entry["outcome"], why=entry.get("why", ""))
    return Score(
        attack=name, outcome="scored", target=entry["target"], score=entry["score"], low=entry["low"], high=entry["high"],
        guess=entry["prior_only"], n=entry["n"],
    )  # fmt: skip
