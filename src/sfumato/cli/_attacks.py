"""``sfumato attack --list``: what the attacks on records are, what each needs and asks, and how long it takes."""

from __future__ import annotations

from typing import Any

TIMED = 300  # records of which a time is told


def listed(effort: str) -> list[dict[str, Any]]:
    """Every attack and variant: ``name``, ``does``, ``asks`` (the targets), ``needs``, ``may_use``, ``asks_first``, and ``seconds`` of
    ``TIMED`` records on the machine that was measured, None where it was never timed; ``records`` is how many it takes at most, None
    where it is left out at this effort."""
    from sfumato.attacker import attempt as attempts
    from sfumato.attacker.records import base as known
    from sfumato.studies import pace

    found = []
    for row in known.rows():
        name, _, variant = row.partition(":")
        module = known.attack(name)
        most = attempts.count(module, effort, variant)  # type: ignore[arg-type]
        found.append({
            "name": row, "does": module.DESCRIPTION, "asks": list(module.TARGETS), "needs": _names(module.NEEDS),
            "may_use": _names(getattr(module, "MAY_USE", ())), "asks_first": getattr(module, "ASKS", None), "records": most,
            "seconds": None if most is None else pace.seconds(row, effort, TIMED),  # type: ignore[arg-type]
        })  # fmt: skip
    return found


def _names(kinds: tuple[type, ...]) -> list[str]:
    return [kind.__name__ for kind in kinds]


def lines(found: list[dict[str, Any]], effort: str) -> list[str]:
    """The same for people."""
    from sfumato.cli._progress import words

    said = []
    for one in found:
        took = "left out" if one["records"] is None else "never timed" if one["seconds"] is None else words(one["seconds"])
        said.append(f"{one['name']:28} {took:11} {one['does']}")
        also = f"; may use {', '.join(one['may_use'])}" if one["may_use"] else ""
        first = f"; asks {one['asks_first']} first" if one["asks_first"] else ""
        most = "" if one["records"] is None else f"; at most {one['records']} records"
        said.append(f"{'':28} {'':11} asks for {', '.join(one['asks'])}; needs {', '.join(one['needs'])}{also}{first}{most}")
    known = sum(one["seconds"] or 0 for one in found)
    untimed = sum(one["records"] is not None and one["seconds"] is None for one in found)
    left = f", without {untimed} that were never timed" if untimed else ""
    said.append(f"--effort {effort}: about {words(known)} for {TIMED} records on the machine that was measured, two cores{left}")
    return said
