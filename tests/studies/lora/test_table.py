"""From hits to the table: pairs, pools, the gate, and what failed."""

import numpy as np
import pytest

from sfumato.studies.lora.table import FLOOR, OWNER, table


def cells(hits):
    return {
        f"v{i}": {
            "hit": bool(hit),
            "identity": 0.5,
            "nearest private": 0.1,
            "nearest other": 0.2,
            "skin": 1.0,
            "hair": 0.0,
            "seconds": 1.0,
            "rank": 1 if hit else 7,
        }
        for i, hit in enumerate(hits)
    }


def test_the_table_pairs_every_attack_with_the_floor_and_the_gate_decides():
    draws = np.random.default_rng(0)
    names = {f"v{i}": ("a", "b")[i % 2] for i in range(60)}
    strong, weak = draws.random(60) < 0.6, draws.random(60) < 0.02
    found = table({OWNER: cells(strong), FLOOR: cells(weak), "a": cells(strong), "b": cells(weak)}, names, 0.005)
    assert found["gate"]["passed"] and found["attacks"]["a"]["effective"] and not found["attacks"]["b"]["effective"]
    assert set(found["attacks"]["a"]["pools"]) == {"a", "b"} and found["attacks"]["a"]["pools"]["b"]["n"] == 30
    assert found["attacks"]["a"]["identity_similarity"]["n"] == 60 and found["owner"]["top1"] == pytest.approx(strong.mean())
    assert not table({OWNER: cells(weak), FLOOR: cells(weak), "a": cells(strong)}, names, 0.005)["gate"]["passed"]
    assert not table({OWNER: cells(strong), FLOOR: cells(strong)}, names, 0.005)["gate"]["passed"]


def test_an_attack_that_had_nothing_or_failed_is_told_apart():
    names = {"v0": "a", "v1": "a"}
    lacking = {name: {"outcome": "no channel", "why": "no Trained"} for name in names}
    failed = {name: {"outcome": "failed", "why": "diverged"} for name in names}
    found = table({OWNER: cells([1, 1]), FLOOR: cells([0, 0]), "x": lacking, "y": failed}, names, 0.005)
    assert found["attacks"]["x"] == {"outcome": "no channel", "why": "no Trained", "n": 0} and found["attacks"]["y"]["why"] == "diverged"


def test_an_attempt_that_failed_named_nobody():
    names = {f"v{i}": "a" for i in range(4)}
    kept = cells([1, 1, 1, 1]) | {"v3": {"outcome": "failed", "why": "diverged"}}
    row = table({OWNER: cells([1] * 4), FLOOR: cells([0] * 4), "x": kept}, names, 0.005)["attacks"]["x"]
    assert row["top1"] == 0.75 and row["failed"] == 1 and row["n"] == 4


def test_encoders_are_paired_with_what_could_explain_them():
    names = {f"v{i}": "a" for i in range(40)}
    reads, blind = [1] * 30 + [0] * 10, [1] * 10 + [0] * 30
    own, swapped = "network_autoencoder:probe", "network_autoencoder:probe, of another's file"
    rows = {own: cells(reads), swapped: cells(blind), "prior_sampling:rare_tokens": cells(reads), f"{own}, steps known": cells(reads)}
    pairs = table({OWNER: cells(reads), FLOOR: cells([0] * 40), **rows}, names, 0.005)["pairs"]
    told = f"{own} / {own}, steps known"  # knowledge of another kind: compared with itself alone
    assert set(pairs) == {f"{own} / {swapped}", f"{own} / prior_sampling:rare_tokens", told} and pairs[told]["difference"] == 0
    assert pairs[f"{own} / {swapped}"]["difference"] == 0.5 and pairs[f"{own} / {swapped}"]["low"] > 0.2
    assert pairs[f"{own} / {swapped}"]["adjusted_p"] < 0.01 < pairs[f"{own} / prior_sampling:rare_tokens"]["adjusted_p"]


def test_the_better_of_a_pair_stands_first_and_p_looks_both_ways():
    names = {f"v{i}": "a" for i in range(40)}
    reads, blind = [1] * 30 + [0] * 10, [1] * 10 + [0] * 30
    ours, theirs = "network_autoencoder:hypernet", "network_autoencoder:probe"
    for better, worse in ((ours, theirs), (theirs, ours)):
        rows = {better: cells(reads), worse: cells(blind)}
        pairs = table({OWNER: cells(reads), FLOOR: cells([0] * 40), **{name: rows[name] for name in (ours, theirs)}}, names, 0.005)["pairs"]
        assert list(pairs) == [f"{better} / {worse}"] and pairs[f"{better} / {worse}"]["p"] < 0.01
    same = {ours: cells(reads), theirs: cells(reads)}
    assert table({OWNER: cells(reads), FLOOR: cells([0] * 40), **same}, names, 0.005)["pairs"][f"{ours} / {theirs}"]["p"] == 1.0


def test_measures_of_those_that_came_to_something_have_intervals_over_victims():
    names = {f"v{i}": "a" for i in range(30)}
    kept = cells([1, 0] * 15)
    for i, cell in enumerate(kept.values()):
        cell["identity"] = i / 29
    row = table({OWNER: kept, FLOOR: cells([0] * 30), "x": kept | {"v0": {"outcome": "failed", "why": "NaN"}}}, names, 0.005)["attacks"][
        "x"
    ]
    alike = row["identity_similarity"]
    assert (
        alike["n"] == 29 and alike["low"] < alike["mean"] < alike["high"] and alike["mean"] == pytest.approx(np.mean(np.arange(1, 30) / 29))
    )


def test_a_floor_that_hits_too_often_is_no_gate_passed():
    names = {f"v{i}": "a" for i in range(40)}
    for hits, passed in (([0] * 40, True), ([1, 1] + [0] * 38, True), ([1] * 3 + [0] * 37, False)):
        assert table({OWNER: cells([1] * 40), FLOOR: cells(hits)}, names, 0.005)["gate"]["passed"] is passed


def test_an_attack_that_ranks_a_line_up_has_no_pictures_measures_but_its_place():
    names = {f"v{i}": "a" for i in range(20)}
    ranks = [1] * 8 + [5] * 6 + [6] * 6
    kept = {f"v{i}": {"hit": rank == 1, "rank": rank, "seconds": 1.0} for i, rank in enumerate(ranks)}
    found = table({OWNER: cells([1] * 20), FLOOR: cells([0] * 20), "lineup_likelihood:raw": kept}, names, 0.005)
    row = found["attacks"]["lineup_likelihood:raw"]
    assert row["top1"] == 0.4 and row["top5"]["mean"] == 0.7 and row["rank"]["mean"] == pytest.approx(np.mean(ranks))
    assert not {"identity_similarity", "skin"} & set(row) and found["owner"]["identity_similarity"]["n"] == 20
    failed = kept | {"v0": {"outcome": "failed", "why": "NaN"}}
    row = table({OWNER: cells([1] * 20), FLOOR: cells([0] * 20), "x": failed}, names, 0.005)["attacks"]["x"]
    assert row["top5"]["mean"] == 0.65 and row["rank"]["n"] == 19  # who failed named nobody


def test_who_ranks_a_line_up_is_paired_with_everybody_who_is_told_as_little():
    names = {f"v{i}": "a" for i in range(40)}
    rows = {"read_identity:likelihood": cells([1] * 30 + [0] * 10), "prior_sampling:rare_tokens": cells([1] * 10 + [0] * 30)}
    pairs = table(
        {OWNER: cells([1] * 40), FLOOR: cells([0] * 40), **rows, "guided_extraction:w3, trigger known": cells([1] * 40)}, names, 0.005
    )["pairs"]
    assert set(pairs) == {"read_identity:likelihood / prior_sampling:rare_tokens"}
