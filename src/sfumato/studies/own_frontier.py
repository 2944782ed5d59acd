"""What privacy costs on somebody's own pictures: at each setting how well conditions are followed,
and what attacks get back.

Every point is a scheme of sealed records with its options. It is trained as ``compare`` trains it
on the folders, and sealed as a trial, which counts as no release, and attacked as ``attack`` does.
No level of ``seal --privacy`` is made of this: it holds for these pictures alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sfumato._version import __version__
from sfumato.attacker.attempt import Effort
from sfumato.core.artifact import write_json
from sfumato.core.device import choose_device
from sfumato.core.errors import UserError
from sfumato.core.private import private
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base, load_base
from sfumato.judge import gates
from sfumato.judge.report import pages
from sfumato.owner.folder import read_folder
from sfumato.owner.seal import seal
from sfumato.records.record import SealSettings
from sfumato.schemes.sealed import seal_settings
from sfumato.studies import frontier
from sfumato.studies.records import audit
from sfumato.studies.records.audit import AuditConfig
from sfumato.studies.training import arms, compare, conditioned, own_pictures
from sfumato.studies.training.compare import YOURS, CompareConfig

OWNER = "calibration"  # that signs the trials
TARGETS = ("picture", "condition", "person")  # whose gates decide; others rest on attacks that are not run here
SUPPLIED = tuple(f"sealed:seal_step={n},condition_step={m}" for n, m in ((600, 200), (800, 400), (900, 600)))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnConfig:
    """Whose pictures, which points, and how large: of training as in ``CompareConfig``, of attacks
    as in ``AuditConfig``.

    Attributes:
        folders: one an owner.
        points: sealed schemes with their options; empty for those that suit the condition.
        public: a folder of public pictures that attackers learn from; None for invented people.
    """

    folders: tuple[Path, ...]
    points: tuple[str, ...] = ()
    attacks: tuple[str, ...] = frontier.ATTACKS
    condition: str = "canny"
    public: Path | None = None
    pictures: int = 400
    conditions: int = 200
    steps: int = 400
    effort: Effort = "quick"
    seed: int = 0


def run(
    config: OwnConfig, out: Path, *, command: str = "sfumato calibrate", say: Callable[[str], None] = lambda text: None,
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Measure what ``out`` lacks, and return every point with what it is worth and what came back
    of it, and the best that passed.

    ``out`` is made private: it holds true pictures and records that must not leave.

    Raises:
        UserError: a point that seals nothing, a condition that does not fit, no public pictures
            where they are needed, or an ``out`` from which pictures would get away; all of it
            before anything is trained.
    """
    words = config.points or (SUPPLIED if conditioned.supplied(config.condition) else frontier.DERIVED)
    points = {word: settings_of(word, config.condition) for word in words}
    own_pictures.check_place(out, config.folders)
    if config.public is None:
        audit.check_public("tiny", next(iter(points.values())))
    beside = tuple(name for name in frontier.LEARNED if name in arms.fitting(config.condition))
    sized = CompareConfig(
        domains=(YOURS,), folders=config.folders, arms=(*beside, *points), pictures=config.pictures, conditions=config.conditions,
        steps=config.steps, seeds=(config.seed,), condition=config.condition,
    )  # fmt: skip
    base = load_base(device=choose_device())
    with private(out):
        trained = compare.run(sized, out / "compare", command=command, tell=tell)
        rows = trained[YOURS]
        found = {word: _point(word, settings, rows[word], config, base, out, say, tell) for word, settings in points.items()}
        best = choose(found)
        sizes = {**asdict(config), "folders": len(config.folders), "public": bool(config.public)}
        figures = {
            "command": command, "version": __version__, "settings": json.loads(json.dumps(sizes)),
            "interval": "95 %", "base": base.fingerprint, "points": found, "best": best, "few": compare.few(sized),
            "beside": {name: rows[name]["adherence"] for name in (*beside, "no_control")}, "notes": trained["folders"]["notes"],
            "next": [] if best is None else commands(points[best]),
        }  # fmt: skip
        write_json(out / "calibrate.json", figures)
    return figures


def settings_of(word: str, condition: str) -> SealSettings:
    """The settings of a seal that a point stands for.

    Raises:
        UserError: a scheme that makes no records, options that are not the seal's, or a condition
            that no server can find.
    """
    arms.check_arms((word,))
    scheme, options = arms.resolved(word)
    if scheme != "sealed":
        raise UserError(f"--point {word}", expected="sealed or sealed-derived with their options: records that can be attacked")
    conditioned.check(condition, {word: (scheme, options)}, folders=True)
    return seal_settings(options, condition)


def _point(
    word: str, settings: SealSettings, row: Mapping[str, Any], config: OwnConfig, base: Base, out: Path, say: Callable[[str], None],
    tell: TellOf,
) -> dict[str, Any]:  # fmt: skip
    """What a point is worth, and what the best attack got of any owner's pictures; its gates are
    those of all owners."""
    asked = {name: values for name, values in gates.thresholds().items() if name in TARGETS}
    audits, checked = [], []
    for number, folder in enumerate(config.folders, 1):
        place = out / "points" / f"{pages.named(word)}-{number}"
        tell(f"{word}: sealing a trial", 0, 0)
        listed = read_folder(folder, size=base.size, condition=settings.condition)
        seal(listed, place / "trial", owner=OWNER, codec=base, settings=settings, trial=True)
        how = AuditConfig(attacks=config.attacks, effort=config.effort, public=config.public, seed=config.seed)
        attacked = audit.run(place / "trial", folder, place / "attack", how, asked=asked, say=say, tell=tell)
        found = gates.check(asked, attacked["attacks"], attacked["leaks"], unasked=attacked["unasked"])
        public = [gates.Gate(**gate) for gate in attacked["gates"] if gate["name"] not in asked]  # weak attackers, unread records
        audits.append(attacked)
        checked += [*found, *public]
    return {
        "adherence": row["adherence"], "seen": {target: best_of([one["attacks"] for one in audits], target) for target in TARGETS},
        "gates": gates.as_rows(checked), "passed": {0: True, 1: False, 2: None}[gates.exit_code(checked)],
        "failed": sorted({name for each in audits for name, one in gates.variants(each["attacks"]) if one["outcome"] == "failed"}),
        "pages": [str(Path("points") / f"{pages.named(word)}-{number}" / "attack" / "attack.html") for number in range(1, len(audits) + 1)],
    }  # fmt: skip


def best_of(attacked: Sequence[Mapping[str, dict[str, Any]]], target: str) -> dict[str, Any] | None:
    """What the best attack got of ``target``, over owners, variants and pools; None where none was
    scored."""
    cells = [
        {"attack": name, **{key: kept["targets"][target][key] for key in ("score", "low", "high", "prior_only", "n")}}
        for table in attacked for name, one in gates.variants(table) for kept in one.get("pools", {}).values() if target in kept["targets"]
    ]  # fmt: skip
    return max(cells, key=lambda cell: float(cell["score"]), default=None)


def choose(points: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The point that is followed best among those whose gates passed, and in which no attack
    failed; None where there is none."""
    passed = {word: found["adherence"]["mean"] for word, found in points.items() if found["passed"] and not found["failed"]}
    return max(passed, key=lambda word: float(passed[word]), default=None)


def commands(settings: SealSettings) -> list[str]:
    """A trial of these settings, and all attacks on it, with ``RECORDS`` and ``PICTURES`` for the
    folders."""
    step = "none" if settings.condition_step is None else str(settings.condition_step)
    leaves = "" if settings.derived else f" --condition-step {step}"
    seal_step = "none" if settings.seal_step is None else str(settings.seal_step)
    clips = (("--clip", settings.clip), ("--condition-clip", settings.condition_clip))
    more = "".join(f" {name} {value:g}" for name, value in clips if value is not None)
    more += f" --bits {settings.bits}" if settings.bits != 16 else ""
    return [
        f"sfumato seal PICTURES --trial -o RECORDS --owner OWNER --condition {settings.condition} --seal-step {seal_step}{leaves}{more}",
        "sfumato attack RECORDS --truth PICTURES",
    ]
