"""What an owner is told of an audit first: whether to upload, why, what that does not say, and the command to run next.

"Passed" is said of gates by name, never of every way in which records could be attacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sfumato.judge import gates
from sfumato.judge.gates import Gate
from sfumato.records.record import SealSettings

State = Literal["passed", "failed", "open"]
STAYS = {
    "trial": "a trial: these records must not leave this machine, and count as no release; the next ones are another draw of the noise",
    "withdrawn": "withdrawn: these records must not leave this machine; you said that they never did, and they are counted no more",
}
RECORDS, PICTURES = "RECORDS", "PICTURES"  # where the two folders stand in a command


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an audit.

    Attributes:
        state: ``failed`` where a gate failed, ``open`` where one could not be tested or none could be asked, else ``passed``.
        headline: a sentence.
        notes: what it does not cover, a sentence each.
        commands: to run next, with ``RECORDS`` and ``PICTURES`` for the folders.
    """

    state: State
    headline: str
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For JSON and pages."""
        return asdict(self)


def of(
    checked: Sequence[Gate], attacks: Mapping[str, dict[str, Any]], settings: SealSettings, *,
    asked: Iterable[str], effort: str, every: Iterable[str], last: int = 998, standing: str = "release",
    unasked: Iterable[str] = (), crop: str = "center",
) -> Verdict:  # fmt: skip
    """The verdict of an audit.

    Args:
        checked: as ``gates.check`` found them.
        attacks: what came out, by attack, as a scheme's part of a matrix.
        settings: that the records were sealed with.
        asked: names of the gates that were asked for.
        effort: of the attacks.
        every: names of all attacks that there are.
        last: the highest seal step that this base takes.
        standing: of the records; a trial and what was withdrawn must not leave, whatever passed.
        unasked: of what the folder tells nothing, a sentence each.
        crop: that the records were sealed with, for commands that seal again.
    """
    found = _of(checked, attacks, settings, asked, effort, every, last, standing, unasked)
    if crop == "center":
        return found
    sealing = f"sfumato seal {PICTURES}"
    return replace(found, commands=tuple(command.replace(sealing, f"{sealing} --crop {crop}") for command in found.commands))


def _of(
    checked: Sequence[Gate], attacks: Mapping[str, dict[str, Any]], settings: SealSettings, asked: Iterable[str], effort: str,
    every: Iterable[str], last: int, standing: str, unasked: Iterable[str],
) -> Verdict:  # fmt: skip
    failed = [gate.name for gate in checked if gate.passed is False]
    open_ = [gate.name for gate in checked if gate.passed is None and not gate.unasked]
    passed = [gate.name for gate in checked if gate.passed]
    notes = ([STAYS[standing]] if standing in STAYS else []) + list(unasked) + _not_covered(attacks, asked, every)
    if failed:
        also = f"; not tested: {', '.join(open_)}" if open_ else ""
        headline = f"Do not upload these records: {', '.join(failed)} failed{also}."
        return Verdict(
            "failed", headline, tuple(_cures(failed, settings, last, standing) + notes), tuple(_again(failed, settings, last, standing))
        )
    silent = [gate.name for gate in checked if gate.unasked]
    if open_ or not passed:
        what = "could not be asked" if silent and not open_ else "could not be tested"
        headline = f"Not shown to be safe to upload: {', '.join(open_ or silent) or 'every gate'} {what}, and that is no pass."
        why = [f"{gate.name}: {gate.found}; asked: {gate.asked}" for gate in checked if gate.name in open_]
        if "person" in open_:
            why.append("where people are too few, a gate of your own says what you accept: --gates FILE, copied from those that ship")
        return Verdict("open", headline, tuple(why + notes), tuple(_more(open_, attacks, effort, every)))
    but = f" Not asked, and nothing is said of it: {', '.join(silent)}." if silent else ""
    headline = f"Passed: {', '.join(passed)}.{but} That says what these attacks got, at effort {effort}: it is no guarantee."
    return Verdict("passed", headline, tuple(notes), (_leave(settings, standing),))


def of_comparison(tables: Mapping[str, Mapping[str, Any]], few: str = "") -> Verdict:
    """Which scheme's ControlNet follows conditions best, by domain, unless ``few`` says why nobody can tell. No comparison is passed or
    failed."""
    domain, rows = next(iter(tables.items()))
    best, *others = sorted(rows, key=lambda name: -rows[name]["adherence"]["mean"])
    said = [f"{name.replace('_', ' ')} {rows[name]['adherence']['mean']:.2f}" for name in (best, *others)]
    headline = f"Conditions are followed best by what {best.replace('_', ' ')} trained ({domain}): what that costs stands below."
    if few:
        headline = f"{few[:1].upper()}{few[1:]}."
    notes = (f"adherence, the best first: {', '.join(said)}", "what each scheme gives away is measured by sfumato matrix")
    return Verdict("open", headline, notes, ("sfumato matrix",))


def _leave(settings: SealSettings, standing: str) -> str:
    """What to do with records that passed: look at what leaves; or, where these may not, seal some that may."""
    if standing == "release":
        return f"sfumato inspect {RECORDS}"
    steps = [settings.seal_step, settings.condition_step]
    seal, condition = ("none" if step is None else str(step) for step in steps)
    how = ("" if settings.derived else f" --condition-step {condition}") + _kept(settings)
    return f"sfumato seal {PICTURES} -o {RECORDS}-release --owner OWNER --condition {settings.condition} --seal-step {seal}{how}"


def _kept(settings: SealSettings) -> str:
    """Options that stay as they were."""
    clips = (("--clip", settings.clip), ("--condition-clip", settings.condition_clip))
    said = "".join(f" {name} {value:g}" for name, value in clips if value is not None)
    return said + (f" --bits {settings.bits}" if settings.bits != 16 else "")


def _not_covered(attacks: Mapping[str, dict[str, Any]], asked: Iterable[str], every: Iterable[str]) -> list[str]:
    """What nothing is said of: gates that were not asked for, attacks without a result."""
    known, wanted = gates.thresholds(), set(asked)
    by_why: dict[str, list[str]] = {}
    for name, one in gates.variants(attacks):
        if one["outcome"] != "scored":
            by_why.setdefault(one["outcome"], []).append(name)
    if missing := [name for name in every if name not in attacks]:
        by_why["not asked for"] = missing
    said = {
        "failed": "came to nothing, which is no proof of safety", "not tested": "could not be tested here",
        "left out": "were left out at this effort", "no channel": "had nothing here to work on", "not asked for": "were not asked for",
        gates.NOT_ASKED: "had nothing here to ask",
    }  # fmt: skip
    notes = [f"{len(names)} attacks {said[why]}: {', '.join(sorted(names))}" for why, names in by_why.items()]
    if unasked := [name for name in known if name not in wanted]:
        notes.append(f"gates that were not asked for: {', '.join(unasked)}")
    return notes


def _cures(failed: list[str], settings: SealSettings, last: int, standing: str) -> list[str]:
    said = []
    if standing == "release":
        said.append("if nothing of these records left this machine, withdraw them first; only then can the same pictures be sealed again")
    if "structure" in failed:
        said.append("structure: something left that must not, or a picture was released before; draws of one picture average out")
    if "condition" in failed and not settings.derived:
        said.append(f"the condition leaves at step {settings.condition_step}: seal it at a higher one, or let none leave")
    if _recovered(failed) and _higher(settings, last) is None:
        said.append("no higher step is left: what these pictures show cannot be hidden by sealing. Keep them")
    return said


def _recovered(failed: list[str]) -> bool:
    return any(name != "structure" for name in failed)


def _higher(settings: SealSettings, last: int) -> int | None:
    """A step half of the way to the last one, in tens; None where there is none."""
    now = -1 if settings.seal_step is None else settings.seal_step
    step = min(last, (now + last) // 20 * 10 + 10)
    return step if step > now else None


def _again(failed: list[str], settings: SealSettings, last: int, standing: str) -> list[str]:
    """Withdraw, try a higher step where one is left, and attack what that made."""
    first = [f"sfumato withdraw {RECORDS}"] if standing == "release" else []
    step = _higher(settings, last)
    if step is None or not _recovered(failed):
        return first
    how = f"--seal-step {step}"
    if not settings.derived and (settings.condition == "given" or "condition" not in failed):
        higher = max(step, settings.condition_step or 0) if "condition" in failed else settings.condition_step
        how += f" --condition {settings.condition} --condition-step {'none' if higher is None else higher}"
    elif settings.condition != "canny":
        how += f" --condition {settings.condition}"
    how += _kept(replace(settings, condition_clip=None) if "--condition-step" not in how else settings)
    return [
        *first,
        f"sfumato seal {PICTURES} --trial -o {RECORDS}-{step} --owner OWNER {how}",
        f"sfumato attack {RECORDS}-{step} --truth {PICTURES}",
    ]  # fmt: skip


def _more(open_: list[str], attacks: Mapping[str, dict[str, Any]], effort: str, every: Iterable[str]) -> list[str]:
    """What may settle what is open: all attacks, a higher effort, public pictures."""
    more = []
    if any(one["outcome"] == "left out" for _, one in gates.variants(attacks)) or effort == "glance":
        more.append("--effort quick")
    elif effort != "quick":
        more.append(f"--effort {effort}")
    if "public" in open_:
        more.append("--public FOLDER")
    unrun = any(name not in attacks for name in every)
    return [" ".join(["sfumato attack", RECORDS, "--truth", PICTURES, *more])] if more or unrun else []
