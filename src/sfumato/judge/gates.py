"""Gates: what must hold of attacks on records. A gate passes, fails, or could not be tested, and that is never a pass.

A gate on what a folder does not tell, such as who is on its pictures, is not asked: it neither passes nor holds others up.

Thresholds come from TOML (``assets/gates.toml`` holds the defaults); a gate that the file does not name is not asked.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from sfumato.core.errors import UserError
from sfumato.judge.metrics.probes import wilson

WITHOUT_RESULT = ("failed", "not tested", "left out")  # what came of an attack that was not run, or came to nothing
RESTS = {"algebraic": ("algebraic", "linear_mmse")}  # gates that rest on attacks by name
NOT_ASKED = "not asked"  # what came of an attack that is after nothing of which the folder tells
ENOUGH = 64  # records: an attack on fewer counts where it succeeds, and says nothing where it does not
DEFAULTS = "assets/gates.toml"
_KNOWN: dict[str, set[str]] = {
    "attacks": set(),
    "structure": {"forbidden", "releases"},
    "algebraic": set(),
    **{target: {"times_prior", "at_most", "beyond_prior"} for target in ("person", "picture", "condition", "prompt")},
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What was asked, whether it holds (None: could not be tested), what was found and why that settles it.

    ``unasked``: the folder holds nothing that could be asked for; ``passed`` is None, and nothing is said of it.
    """

    name: str
    passed: bool | None
    found: str
    asked: str
    unasked: bool = False


def thresholds(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read gates from TOML; without a path, the defaults.

    Raises:
        UserError: a file that cannot be read, or that names a gate or a threshold that there is not.
    """
    try:
        text = (files("sfumato") / DEFAULTS).read_text() if path is None else path.read_text(encoding="utf-8")
        gates = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}", expected="gates in TOML, such as [person] with times_prior = 3.0") from error
    for name, values in gates.items():
        if name not in _KNOWN or not isinstance(values, dict):
            raise UserError(f"{path}: gate {name!r}", expected=f"tables called {', '.join(_KNOWN)}")
        for key, value in values.items():
            if key not in _KNOWN[name]:
                raise UserError(f"{path}: [{name}] {key}", expected=", ".join(sorted(_KNOWN[name])) or "no thresholds")
            if key != "forbidden" and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
                raise UserError(f"{path}: [{name}] {key} = {value!r}", expected="a number from 0 up")
    return gates


def place(path: Path | None = None) -> str:
    """Where the gates stand: a file to copy and change."""
    return str(files("sfumato") / DEFAULTS if path is None else path)


def check(
    gates: dict[str, dict[str, Any]], attacks: dict[str, dict[str, Any]], leaked: dict[str, int], *,
    every: Mapping[str, Sequence[str]] | None = None, unread: Iterable[str] = (), unasked: Mapping[str, str] | None = None,
) -> list[Gate]:  # fmt: skip
    """Every gate of ``gates``, in its order; and one that cannot pass where part of the records was not looked at.

    Args:
        gates: as ``thresholds`` gives them.
        attacks: what came out, by attack, as a scheme's part of a matrix.
        leaked: by the name of its type, what left an owner and how many releases of each picture.
        every: attacks that there are, and what each is after: a gate passes only if all that are after its target came to a result.
        unread: records that were refused, and why.
        unasked: targets of which the folder tells nothing, so that there is nothing to ask, and why. Attacks on these alone are not
            waited for, and the gates of their names are not asked.
    """
    silent = unasked or {}
    open_ = _open(attacks, {} if every is None else every, silent)
    found = []
    for name, values in gates.items():
        gate = _CHECKS[name](values, attacks, leaked)
        if name in silent:
            found.append(replace(gate, passed=None, found=silent[name], unasked=True))
            continue
        resting = [what for what, targets in open_.items() if name == "attacks" or name in targets or what in RESTS.get(name, ())]
        if resting and gate.passed:
            gate = replace(gate, passed=None, found=f"{gate.found}; without a result: {', '.join(resting)}")
        elif resting and name == "attacks":
            gate = replace(gate, found=f"{gate.found}; without a result: {', '.join(resting)}")
        found.append(gate)
    refused = "; ".join(unread)
    return found + ([Gate("records", None, refused, "every record can be read, and was attacked")] if refused else [])


def _open(attacks: dict[str, dict[str, Any]], every: Mapping[str, Sequence[str]], silent: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Attacks and variants without a result, and what each is after: not asked for, left out, not tested or failed.

    Those that are after nothing but what is ``silent`` would have had nothing to ask.
    """
    found: dict[str, Sequence[str]] = {name: targets for name, targets in every.items() if name not in attacks}
    for name, one in variants(attacks):
        if one["outcome"] in WITHOUT_RESULT:
            found[name] = every.get(name.partition(":")[0], ())
    return {name: targets for name, targets in sorted(found.items()) if not targets or any(target not in silent for target in targets)}


def as_rows(found: list[Gate]) -> list[dict[str, Any]]:
    """For JSON and pages."""
    return [asdict(gate) for gate in found]


def exit_code(found: list[Gate]) -> int:
    """0 where all that could be asked passed, 1 where one failed, 2 where one could not be tested, or none could be asked."""
    passed = [gate.passed for gate in found if not gate.unasked]
    return 1 if False in passed else 2 if None in passed or not passed else 0


def variants(attacks: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every attack, or each of its variants where it has some, by name."""
    for name, entry in attacks.items():
        for variant, one in entry.get("variants", {"": entry}).items():
            yield (f"{name}:{variant}" if variant else name), one


def _every(values: dict[str, Any], attacks: dict[str, dict[str, Any]], leaked: dict[str, int]) -> Gate:
    failed = [f"{name} ({one['why']})" for name, one in variants(attacks) if one["outcome"] == "failed"]
    ran = sum(one["outcome"] == "scored" for _, one in variants(attacks))
    idle, silent = (sum(one["outcome"] == what for _, one in variants(attacks)) for what in ("no channel", NOT_ASKED))
    found = "; ".join(failed) or f"of those asked for {ran} came to a result, and {idle} had nothing here to work on"
    if silent and not failed:
        found += f"; {silent} had nothing here to ask"
    asked = "every attack that has something to work on, and something to ask, comes to a result"
    return Gate("attacks", None if failed or not ran else True, found, asked)


def _structure(values: dict[str, Any], attacks: dict[str, dict[str, Any]], leaked: dict[str, int]) -> Gate:
    forbidden, most = values.get("forbidden", []), values.get("releases", 1)
    bad = [name for name in forbidden if name in leaked]
    bad += [f"{count} releases of {name}" for name, count in leaked.items() if count > most]
    asked = f"none of {', '.join(forbidden)} leaves, and nothing more than {most:g} times"
    return Gate("structure", not bad, ", ".join(bad) or f"only {', '.join(leaked) or 'nothing'} left", asked)


def _algebraic(values: dict[str, Any], attacks: dict[str, dict[str, Any]], leaked: dict[str, int]) -> Gate:
    asked = "closed form comes no closer to a latent than the best estimate by a prior"
    closed = _latent_errors(attacks.get("algebraic", {}))
    rivals = [_latent_errors(attacks.get("linear_mmse", {})), _latent_errors(_variant(attacks, "diffusion_prior", "mean"))]
    by_prior = {what: min(errors[what] for errors in rivals if what in errors) for what in {*rivals[0], *rivals[1]}}
    if not closed and attacks.get("algebraic", {}).get("outcome") == "no channel":
        return Gate("algebraic", True, "nothing to solve for", asked)
    both = closed.keys() & by_prior.keys()
    if not both:
        return Gate("algebraic", None, "algebraic was not run, or neither linear_mmse nor diffusion_prior:mean", asked)
    bad = [what for what in both if closed[what] < by_prior[what]]
    found = "; ".join(f"{what}: relative error {closed[what]:.3g} against {by_prior[what]:.3g}" for what in sorted(both))
    return Gate("algebraic", not bad, found, asked)


def _variant(attacks: dict[str, dict[str, Any]], name: str, variant: str) -> dict[str, Any]:
    found: dict[str, Any] = attacks.get(name, {}).get("variants", {}).get(variant, {})
    return found


def _latent_errors(entry: dict[str, Any]) -> dict[str, float]:
    return {
        f"{target}, {pool}": cell["beside"]["latent error"]
        for pool, kept in entry.get("pools", {}).items() for target, cell in kept["targets"].items()
        if "latent error" in cell.get("beside", {})
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Measured:
    """What one attack got on one scale, how exactly that was measured, and what it has to stay below."""

    attack: str
    score: float
    low: float
    high: float
    limit: float
    n: int
    effective: bool

    @property
    def counts(self) -> bool:
        """Few records say nothing where an attack gets little; where it gets much they say enough."""
        return self.n >= ENOUGH or self.effective or self.low > self.limit


def _below(target: str, values: dict[str, Any], attacks: dict[str, dict[str, Any]]) -> Gate:
    """Whether the best attack stays below every limit of ``values``, by the upper end of its interval, over every variant and pool.

    The interval says how exactly this attack was measured on these records. It is no bound on what another attack gets.
    """
    cells = [
        (name, kept["targets"][target])
        for name, one in variants(attacks) for kept in one.get("pools", {}).values() if target in kept["targets"]
    ]  # fmt: skip
    parts = [_SCALES[name](float(value), cells) for name, value in values.items()]
    asked = "; ".join(said for said, _, _ in parts) or "nothing: this table names no limit"
    if not parts or not cells:
        return Gate(target, None, "no attack on this was run and came to a result", asked)
    verdicts = [_held(measured, unit) for _, measured, unit in parts]
    passed = False if any(one is False for one, _ in verdicts) else None if any(one is None for one, _ in verdicts) else True
    return Gate(target, passed, "; ".join(said for _, said in verdicts), asked)


def _held(measured: list[_Measured], unit: str) -> tuple[bool | None, str]:
    """Whether every attack that counts stays below its limit, and the best one in words."""
    counted = [one for one in measured if one.counts]
    if not counted:
        most = max(one.n for one in measured)
        return None, f"no attack on this was tried on enough records ({most}; {ENOUGH} are needed)"
    best = max(counted, key=lambda one: one.score)
    said = (
        f"the best attack that ran, {best.attack}, got {best.score:.3f}{unit}, "
        f"sampling interval [{best.low:.3f}, {best.high:.3f}], n = {best.n}; limit {best.limit:.3f}"
    )
    if any(one.low > one.limit for one in counted):
        return False, said
    return (True if all(one.high < one.limit for one in counted) else None), said


Cells = list[tuple[str, dict[str, Any]]]
Scale = tuple[str, list[_Measured], str]  # what is asked, what was measured, and the unit of both


def _at_most(value: float, cells: Cells) -> Scale:
    found = [_Measured(name, cell["score"], cell["low"], cell["high"], value, cell["n"], cell["effective"]) for name, cell in cells]
    return f"what the best attack here gets stays below {value:g}", found, ""


def _times_prior(value: float, cells: Cells) -> Scale:
    """In units of a guess: the best that one without records gets over all attacks that count."""
    counted = [cell for _, cell in cells if cell["n"] >= ENOUGH or cell["effective"]]
    if not counted:
        found = _at_most(1.0, cells)[1]
        return f"what the best attack here gets stays below {value:g} times what a guess without records gets", found, ""
    floor = max(max(cell.get("guess", cell["prior_only"]), cell["chance"]) for cell in counted)
    limit = min(1.0, value * floor)
    asked = f"what the best attack here gets stays below {value:g} times what a guess without records gets ({floor:.3f})"
    people = max(int(cell["people"] if "people" in cell else cell["n"]) for cell in counted)
    nobody = wilson(0, people)[2]
    if limit <= nobody:
        asked += f"; {people} people cannot show that: recognising none of them leaves up to {nobody:.3f} open"
    return asked, _at_most(limit, cells)[1], ""


def _beyond_prior(value: float, cells: Cells) -> Scale:
    """How much of the way from a guess without records (0) to the truth itself (1) an attack goes, picture by picture in pairs."""
    found = []
    for name, cell in cells:
        rest = 1 - cell["prior_only"]
        if rest > 0:  # a guess that is always right leaves nothing to find
            difference, low, high = (part / rest for part in cell["difference"])
            found.append(_Measured(name, difference, low, high, value, cell["n"], cell["effective"]))
    asked = f"the best attack here goes less than {value:.0%} of the way from a guess without records to the truth"
    return asked, found or [_Measured("none", 0.0, 0.0, 0.0, value, 0, False)], " of the way"


_SCALES: dict[str, Any] = {"at_most": _at_most, "times_prior": _times_prior, "beyond_prior": _beyond_prior}
_CHECKS: dict[str, Any] = {
    "attacks": _every,
    "structure": _structure,
    "algebraic": _algebraic,
    **{
        target: lambda values, attacks, leaked, target=target: _below(target, values, attacks)
        for target in ("person", "picture", "condition", "prompt")
    },
}
