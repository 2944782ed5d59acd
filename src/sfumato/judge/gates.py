"""Gates: what must hold of attacks on records. A gate passes, fails, or could not be tested, and that is never a pass.

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
ENOUGH = 64  # records: an attack on fewer counts where it succeeds, and says nothing where it does not
_KNOWN: dict[str, set[str]] = {
    "attacks": set(),
    "structure": {"forbidden", "releases"},
    "algebraic": set(),
    "person": {"times_prior", "at_most"},
    "picture": {"at_most"},
    "condition": {"at_most"},
    "prompt": {"at_most"},
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What was asked, whether it holds (None: could not be tested), what was found and why that settles it."""

    name: str
    passed: bool | None
    found: str
    asked: str


def thresholds(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read gates from TOML; without a path, the defaults.

    Raises:
        UserError: a file that cannot be read, or that names a gate or a threshold that there is not.
    """
    try:
        text = (files("sfumato") / "assets/gates.toml").read_text() if path is None else path.read_text(encoding="utf-8")
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


def check(
    gates: dict[str, dict[str, Any]], attacks: dict[str, dict[str, Any]], leaked: dict[str, int], *,
    every: Mapping[str, Sequence[str]] | None = None, unread: Iterable[str] = (),
) -> list[Gate]:  # fmt: skip
    """Every gate of ``gates``, in its order; and one that cannot pass where part of the records was not looked at.

    Args:
        gates: as ``thresholds`` gives them.
        attacks: what came out, by attack, as a scheme's part of a matrix.
        leaked: by the name of its type, what left an owner and how many releases of each picture.
        every: attacks that there are, and what each is after: a gate passes only if all that are after its target came to a result.
        unread: records that were refused, and why.
    """
    open_ = _open(attacks, {} if every is None else every)
    found = []
    for name, values in gates.items():
        gate = _CHECKS[name](values, attacks, leaked)
        resting = [what for what, targets in open_.items() if name == "attacks" or name in targets or what in RESTS.get(name, ())]
        if resting and gate.passed:
            gate = replace(gate, passed=None, found=f"{gate.found}; without a result: {', '.join(resting)}")
        elif resting and name == "attacks":
            gate = replace(gate, found=f"{gate.found}; without a result: {', '.join(resting)}")
        found.append(gate)
    refused = "; ".join(unread)
    return found + ([Gate("records", None, refused, "every record can be read, and was attacked")] if refused else [])


def _open(attacks: dict[str, dict[str, Any]], every: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Attacks and variants without a result, and what each is after: not asked for, left out, not tested or failed."""
    found: dict[str, Sequence[str]] = {name: targets for name, targets in every.items() if name not in attacks}
    for name, one in _variants(attacks):
        if one["outcome"] in WITHOUT_RESULT:
            found[name] = every.get(name.partition(":")[0], ())
    return dict(sorted(found.items()))


def as_rows(found: list[Gate]) -> list[dict[str, Any]]:
    """For JSON and pages."""
    return [asdict(gate) for gate in found]


def exit_code(found: list[Gate]) -> int:
    """0 where all passed, 1 where one failed, 2 where one could not be tested."""
    return 1 if any(gate.passed is False for gate in found) else 2 if any(gate.passed is None for gate in found) else 0


def _variants(attacks: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in attacks.items():
        for variant, one in entry.get("variants", {"": entry}).items():
            yield (f"{name}:{variant}" if variant else name), one


def _every(values: dict[str, Any], attacks: dict[str, dict[str, Any]], leaked: dict[str, int]) -> Gate:
    failed = [f"{name} ({one['why']})" for name, one in _variants(attacks) if one["outcome"] == "failed"]
    ran = sum(one["outcome"] == "scored" for _, one in _variants(attacks))
    idle = sum(one["outcome"] == "no channel" for _, one in _variants(attacks))
    found = "; ".join(failed) or f"{ran} ran, {idle} had nothing to work on"
    return Gate("attacks", None if failed or not ran else True, found, "every attack that has something to work on comes to a result")


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


def _below(target: str, values: dict[str, Any], attacks: dict[str, dict[str, Any]]) -> Gate:
    """Whether the best attack's score, by the upper end of its sampling interval, stays below a limit, over every variant and pool.

    The interval says how exactly this attack was measured on these records. It is no bound on what another attack gets.
    """
    cells = [
        (name, kept["targets"][target])
        for name, one in _variants(attacks) for kept in one.get("pools", {}).values() if target in kept["targets"]
    ]  # fmt: skip
    counted = [(name, cell) for name, cell in cells if cell["n"] >= ENOUGH or cell["effective"]]
    limits = {"at_most": values.get("at_most")}
    asked = f"what the best attack here gets stays below {limits['at_most']}"
    if "times_prior" in values and counted:
        floor = max(max(cell.get("guess", cell["prior_only"]), cell["chance"]) for _, cell in counted)
        wanted = limits["times_prior"] = min(1.0, values["times_prior"] * floor)
        asked = (
            f"what the best attack here gets stays below {values['times_prior']:g} times what a guess without records gets ({floor:.3f})"
        )
        people = max(int(cell.get("people", cell["n"])) for _, cell in counted)
        nobody = wilson(0, people)[2]
        if wanted <= nobody:
            asked += f"; {people} people cannot show that: recognising none of them leaves up to {nobody:.3f} open"
    limit = min((b for b in limits.values() if b is not None), default=None)
    if limit is None or not counted:
        return Gate(target, None, "no attack on this was tried on enough records", asked)
    name, worst = max(counted, key=lambda item: float(item[1]["score"]))
    high = max(float(cell["high"]) for _, cell in counted)
    interval = f"sampling interval [{worst['low']:.3f}, {worst['high']:.3f}], n = {worst['n']}"
    said = f"the best attack that ran, {name}, got {worst['score']:.3f}, {interval}; limit {limit:.3f}"
    passed = True if high < limit else False if any(cell["low"] > limit for _, cell in counted) else None
    return Gate(target, passed, said, asked)


_CHECKS: dict[str, Any] = {
    "attacks": _every,
    "structure": _structure,
    "algebraic": _algebraic,
    **{
        target: lambda values, attacks, leaked, target=target: _below(target, values, attacks)
        for target in ("person", "picture", "condition", "prompt")
    },
}
