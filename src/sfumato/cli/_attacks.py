"""The attacks on records in words: what each needs, asks and takes (``--list``), and what each came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.cli.outputs.attack import Listed
    from sfumato.judge.scores import Row

TIMED = 300  # records of which a time is told


def listed(effort: str) -> list[Listed]:
    """Every attack and variant, with ``seconds`` of ``TIMED`` records on the machine that was measured."""
    from sfumato.attacker import attempt as attempts
    from sfumato.attacker.records import base as known
    from sfumato.cli.outputs.attack import Listed
    from sfumato.studies.records import pace

    found = []
    for row in known.rows():
        name, _, variant = row.partition(":")
        module = known.attack(name)
        most = attempts.count(module, effort, variant)  # type: ignore[arg-type]
        found.append(
            Listed(
                name=row,
                does=module.DESCRIPTION,
                asks=tuple(module.TARGETS),
                needs=_names(module.NEEDS),
                may_use=_names(getattr(module, "MAY_USE", ())),
                asks_first=getattr(module, "ASKS", None),
                records=most,
                seconds=None if most is None else pace.seconds(row, effort, TIMED),  # type: ignore[arg-type]
            )
        )
    return found


def _names(kinds: tuple[type, ...]) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in kinds)


def lines(found: list[Listed], effort: str) -> list[str]:
    """The same for people."""
    from sfumato.cli._progress import words

    said = []
    for one in found:
        took = "left out" if one.records is None else "never timed" if one.seconds is None else words(one.seconds)
        said.append(f"{one.name:28} {took:11} {one.does}")
        also = f"; may use {', '.join(one.may_use)}" if one.may_use else ""
        first = f"; asks {one.asks_first} first" if one.asks_first else ""
        most = "" if one.records is None else f"; at most {one.records} records"
        said.append(f"{'':28} {'':11} asks for {', '.join(one.asks)}; needs {', '.join(one.needs)}{also}{first}{most}")
    known = sum(one.seconds or 0 for one in found)
    untimed = sum(one.records is not None and one.seconds is None for one in found)
    left = f", without {untimed} that were never timed" if untimed else ""
    said.append(f"--effort {effort}: about {words(known)} for {TIMED} records on the machine that was measured, two cores{left}")
    return said


def rows(attacks: Mapping[str, Row]) -> Iterator[str]:
    """What each attack came to, a line each; of its variants those without a result."""
    for name, row in attacks.items():
        if not row.scored:
            yield f"  {name:20} {row.outcome}: {row.why}"
            continue
        for variant, one in (row.variants or {}).items():
            if one.outcome not in ("scored", "no channel", "not asked"):
                yield f"  {name + ':' + variant:20} {one.outcome}: {one.why}"
        score = f"{row.target} {row.score:.3f} [{row.low:.3f}, {row.high:.3f}]"
        yield f"  {name:20} {score}, without records {row.prior_only:.3f}, n = {row.n}: {row.verdict}"
