"""From hits and misses of every attack on every victim to the table: intervals, the gate, and
attack against attack.

Gate: the owner's own pictures, drawn with the trigger, must lead to the right person in at least a
quarter of the cases among 200, while the same prompt on the undamaged base does in at most one of
twenty. Below that nothing was learned that could leak, and a failed attack says nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sfumato.judge.metrics import guesses, significance

OWNER, FLOOR = "the owner, with the trigger", "the same prompt on the base"
OWNER_AT_LEAST, FLOOR_AT_MOST = 0.25, 0.05
GATE = f"owner's top-1 at least {OWNER_AT_LEAST}, the same prompt on the base at most {FLOOR_AT_MOST}"
AMONG = 5  # people of a line-up who are looked at first
LINE_UP = ("lineup_", "read_")  # attacks that rank a line-up themselves, and make no picture
MEASURED = {
    "identity_similarity": "identity", "nearest_private": "nearest private", "nearest_other": "nearest other",
    "skin": "skin", "hair": "hair",
}  # fmt: skip


def table(cells: dict[str, dict[str, Any]], pools: dict[str, str], chance: float) -> dict[str, Any]:
    """By attack: top-1 with its interval, over all victims and by pool, paired with the same prompt
    on the base; the gate; and attack against attack. An attempt that failed named nobody.

    Args:
        cells: by label and victim.
        pools: by victim.
        chance: of a line-up.
    """
    rows = {label: _row(kept, cells[FLOOR], pools) for label, kept in cells.items()}
    tests = {
        label: {
            "score": row["top1"], "low": row["low"], "high": row["high"], "prior_only": row["floor"], "p": row["p"], "n": row["n"],
            "people": row["n"], "target": "person", "difference": row["difference"],
        }
        for label, row in rows.items() if row["outcome"] == "scored" and label not in (OWNER, FLOOR)
    }  # fmt: skip
    for label, verdict in (guesses.judged(tests) if tests else {}).items():
        rows[label] |= {"verdict": verdict["verdict"], "effective": verdict["effective"], "adjusted_p": verdict["adjusted_p"]}
    pairs = _pairs({label: _hits(cells[label], pools) for label in tests})
    owner, base = rows.pop(OWNER), rows.pop(FLOOR)
    passed = owner.get("top1", 0.0) >= OWNER_AT_LEAST and base.get("top1", 1.0) <= FLOOR_AT_MOST
    return {"attacks": rows, "owner": owner, "floor": base, "chance": chance, "pairs": pairs, "gate": {"passed": passed, "asked": GATE}}


def _hits(kept: dict[str, Any], pools: dict[str, str]) -> dict[str, float]:
    """By victim, for those that were tried."""
    tried = [name for name in pools if name in kept and kept[name].get("outcome") != "no channel"]
    return {name: float(kept[name].get("hit", False)) for name in tried}


def _row(kept: dict[str, Any], floor: dict[str, Any], pools: dict[str, str]) -> dict[str, Any]:
    hits = _hits(kept, pools)
    scored = [name for name in hits if "hit" in kept[name]]
    if len(scored) < 2:
        why = sorted({cell.get("why", "") for cell in kept.values()})
        outcomes = [str(cell["outcome"]) for cell in kept.values() if "outcome" in cell]
        return {"outcome": outcomes[0] if outcomes else "not run", "why": "; ".join(why), "n": len(scored)}

    def compared(names: list[str]) -> significance.Comparison:
        own, prior = (np.array([side[name] for name in names]) for side in (hits, _hits(floor, pools)))
        return significance.compare(own, prior, generator=np.random.default_rng(0))

    found = compared(list(hits))
    parts = {pool: [name for name in hits if pools[name] == pool] for pool in dict.fromkeys(pools.values())}
    by_pool = {pool: compared(names) for pool, names in parts.items() if len(names) > 1}
    return {
        "outcome": "scored", "top1": found.mean, "low": found.low, "high": found.high, "n": found.n, "floor": found.baseline,
        "failed": len(hits) - len(scored), "difference": [found.difference, found.difference_low, found.difference_high], "p": found.p,
        "pools": {pool: {"top1": one.mean, "low": one.low, "high": one.high, "n": one.n} for pool, one in by_pool.items()},
        "seconds": float(np.mean([kept[name]["seconds"] for name in scored])),
        "top5": _mean([float(kept[name].get("rank", AMONG + 1) <= AMONG) for name in hits]),
        "rank": _mean([kept[name]["rank"] for name in scored]),
        **{key: _mean([kept[name][from_] for name in scored]) for key, from_ in MEASURED.items() if from_ in kept[scored[0]]},
    }  # fmt: skip


def _pairs(hits: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Every network autoencoder and every attack that ranks a line-up itself against every other
    attack that is not told the steps or the trigger, and an autoencoder against itself told the
    number of steps, victim by victim; the one that names more people stands first. p is two-sided,
    Holm-corrected over all pairs."""
    told = ("steps known", "trigger known")
    plain = [label for label in hits if not any(word in label for word in told)]
    kinds = ("network_autoencoder", *LINE_UP)
    readers = [label for label in plain if label.startswith(kinds) and not label.endswith("of another's file")]
    found: dict[str, dict[str, Any]] = {}
    asked = [(reader, other) for reader in readers for other in plain if other != reader]
    asked += [(reader, f"{reader}, steps known") for reader in readers if f"{reader}, steps known" in hits]
    for pair in {frozenset(both): None for both in asked}:
        labels = [label for label in hits if label in pair]
        names = [name for name in hits[labels[0]] if name in hits[labels[1]]]
        if len(names) < 2:
            continue
        values = {label: np.array([hits[label][name] for name in names]) for label in labels}
        more, fewer = sorted(labels, key=lambda label: -float(values[label].mean()))
        one = significance.compare(values[more], values[fewer], generator=np.random.default_rng(0))
        found[f"{more} / {fewer}"] = {
            "difference": one.difference, "low": one.difference_low, "high": one.difference_high, "p": min(1.0, 2 * one.p), "n": one.n,
        }  # fmt: skip
    adjusted = significance.holm({name: pair["p"] for name, pair in found.items()})
    return {name: {**pair, "adjusted_p": adjusted[name]} for name, pair in found.items()}


def _mean(values: list[float]) -> dict[str, float]:
    """Mean with a 95 % bootstrap interval over victims."""
    array, draws = np.array(values, float), np.random.default_rng(0)
    means = array[draws.integers(len(array), size=(2000, len(array)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(array.mean()), "low": float(low), "high": float(high), "n": len(array)}
