"""``attack``: what an attacker gets from an owner's own records, before anybody else has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.api._common import OnNote, OnProgress, no_note, no_progress
from sfumato.attacker.attempt import EFFORTS, Effort
from sfumato.attacker.records import base as known
from sfumato.core import typed_json
from sfumato.core.errors import UserError
from sfumato.diffusion.base import DEFAULT
from sfumato.judge.gates import Gate, place, thresholds
from sfumato.judge.scores import Row
from sfumato.judge.verdict import Verdict
from sfumato.owner.picture_file import Crop, crop_of
from sfumato.studies.records import audit, audit_folder
from sfumato.studies.records.audit import AuditConfig


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
class AuditSettings:
    """What an audit was of, and how it was run: another run with the same goes on from it.

    Attributes:
        records, pictures, base, public, controlnet: digests; empty where there is none.
        effort, seed: of the attacks.
        people, each: invented public people at most, and pictures of each.
        version: of Sfumato.
    """

    records: str
    pictures: str
    effort: str
    seed: int
    base: str
    public: str
    controlnet: str
    people: int
    each: int
    version: str


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What an audit by attacks found, as ``attack.json`` has it.

    Attributes:
        passed: whether all gates that could be asked passed; None where one could not be tested,
            or none could be asked, and none failed.
        verdict: whether to upload, what that does not cover, and what to run next.
        attacks: what each attack came to, by its name, with every pool, target and variant.
        gates: what was asked, and what was found.
        gates_from: the file that they stand in.
        records: how many there are.
        audited: how many of them were attacked.
        matched: how records found their pictures: by the private ``ledger``, or by ``likelihood``.
        standing: of the records: ``release``, ``trial`` or ``withdrawn``.
        withdrawn: how many releases of these pictures were withdrawn, in words; empty for none.
        leaks: what left, by the name of its type, and how many releases of each picture.
        person: why nothing is said of people; empty where something is.
        unasked: targets of which the folder tells nothing, and why.
        settings: what was audited, and how.
    """

    passed: bool | None
    verdict: Verdict
    attacks: dict[str, Row]
    gates: tuple[Gate, ...]
    gates_from: str
    records: int
    audited: int
    matched: str
    standing: str
    withdrawn: str
    leaks: dict[str, int]
    person: str
    unasked: dict[str, str]
    settings: AuditSettings


@dataclass(frozen=True, kw_only=True)
class Attacked(Exposure):
    """What an audit by attacks found, and where it lies.

    It holds for the attacks that ran, and is no bound.

    Attributes:
        out: the private folder of the audit. It holds true pictures, and is never to be shared.
        page: what to look at.
        passed, verdict, attacks, gates, records and more: as ``Exposure`` has them.
    """

    out: Path
    page: Path

    @property
    def headline(self) -> str:
        """Whether to upload, in a sentence."""
        return self.verdict.headline

    @property
    def notes(self) -> tuple[str, ...]:
        """What that does not cover."""
        return self.verdict.notes

    @property
    def commands(self) -> tuple[str, ...]:
        """To run next, with ``RECORDS`` and ``PICTURES`` for the folders."""
        return self.verdict.commands

    @property
    def scores(self) -> tuple[Score, ...]:
        """Of every attack, one line each."""
        return tuple(_score(name, row) for name, row in self.attacks.items())

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
    jobs: int = 1,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Attacked:
    """Attack your own records and see what comes back. Run again it goes on where it stopped.

    Args:
        records: a folder that ``seal`` wrote.
        truth: the folder that was sealed. It is read here and goes nowhere.
        out: where the report goes, a private folder; by default one in ``SFUMATO_HOME``.
        attacks: names of attacks; "all" for all.
        effort: ``glance`` (a minute), ``quick`` (seven minutes on one core), ``full`` (hours).
        gates: thresholds as TOML; None for those that ship.
        public: public pictures of the same kind to learn from; None for invented people, which
            suit the tiny base alone.
        controlnet: one that was trained from these records; None: one is trained here.
        crop: of the pictures in ``truth``, as ``seal`` was told. None: as this machine keeps it;
            where it keeps nothing of these records, the middle square.
        base: the base that they were sealed for.
        jobs: attacks at a time, in forked processes (Linux, CPU); 0 for one a thread of torch. Fork
            only where no other thread of your program matters.
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
    config = AuditConfig(
        attacks=known.chosen(named), effort=effort, base=str(base), public=_path(public), controlnet=_path(controlnet),
        crop=None if crop is None else crop_of(crop), jobs=jobs,
    )  # fmt: skip
    asked = thresholds(_path(gates))
    settings = (config.effort, config.base, str(config.public), str(config.controlnet), *([] if crop in (None, "center") else [crop]))
    where = audit_folder.default(records, *settings) if out is None else Path(out)
    on_note(f"The audit goes to {where}. It holds your pictures and what attackers made of them: it is private, and never to be shared.")
    command = " ".join(["sfumato attack", str(records), "--truth", str(truth), *([] if named == "all" else ["--attacks", named])])
    command += ("" if crop is None else f" --crop {crop}") + f" --effort {effort}"
    figures = audit.run(
        records, truth, where, config, asked=asked, gates_from=place(_path(gates)), command=command, say=on_note, tell=on_progress
    )  # fmt: skip
    return _result(where, figures)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _result(out: Path, figures: dict[str, Any]) -> Attacked:
    found = typed_json.read(figures, Exposure, what=str(out / audit_folder.FIGURES))
    return Attacked(out=out, page=out / "attack.html", **vars(found))


def _score(name: str, row: Row) -> Score:
    if not row.scored:
        return Score(attack=name, outcome=row.outcome, why=row.why)
    return Score(
        attack=name, outcome=row.outcome, target=row.target, score=row.score, low=row.low, high=row.high,
        guess=row.prior_only, n=row.n or 0,
    )  # fmt: skip
