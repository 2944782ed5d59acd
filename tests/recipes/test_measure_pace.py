"""Seconds by attack, read off audits."""

from __future__ import annotations

import json
import sys

import pytest

from sfumato.attacker.records import base as attacks
from sfumato.studies.records import pace
from tests_support import load_recipe

recipe = load_recipe("measure_pace")


def audit(cells: dict, audited: int = 400, effort: str = "quick") -> dict:
    return {"settings": {"effort": effort}, "audited": audited, "cells": {f"records/{row}": cell for row, cell in cells.items()}}


def scored(seconds: float, n: int = 100) -> dict:
    return {"outcome": "scored", "in all": seconds, "pools": {"records": {"picture": {"n": n}, "person": {"n": n // 2}}}}


def test_who_learns_takes_the_same_of_any_number_and_what_lacks_all_takes_nothing():
    found = recipe.from_audit(
        audit({
            "diffusion_prior:ddim": scored(30.0), "direct_identity": scored(200.0), "fsha": {"outcome": "no channel", "in all": 0.1},
            "own_controlnet:server": {"outcome": "no channel", "in all": 0.1},
            "rmle": {"outcome": "failed", "in all": 9.0}, "of somebody else": scored(9.0),
        })
    )  # fmt: skip
    assert found == {"diffusion_prior:ddim": [0.0, 0.3], "direct_identity": [200.0, 0.0], "fsha": [0.0, 0.0]}


def test_the_slowest_of_several_audits_counts():
    assert recipe.slowest([{"a": [0.0, 1.0], "b": [2.0, 0.0]}, {"a": [0.0, 3.0]}]) == {"a": [0.0, 3.0], "b": [2.0, 0.0]}


def test_an_effort_that_was_not_audited_stays_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "measured", lambda: {"probe": 9.0, "seconds": {"glance": {"algebraic": [0, 1.0]}, "quick": {}}})
    monkeypatch.setattr(pace, "probe", lambda base: 0.25)
    (tmp_path / "attack.json").write_text(json.dumps(audit({"algebraic": scored(40.0)}, audited=100)))
    monkeypatch.setattr(sys, "argv", ["measure_pace", str(tmp_path / "attack.json"), "--out", str(tmp_path / "pace.json")])
    recipe.main()
    found = json.loads((tmp_path / "pace.json").read_text())
    assert found["seconds"] == {"glance": {"algebraic": [0, 1.0]}, "quick": {"algebraic": [0.0, 0.4]}}
    assert found["probe"] == 0.25 and found["audited"] == {"quick": [100]}


def test_what_took_nothing_stays_known_and_the_probe_may_be_of_that_day(tmp_path, monkeypatch):
    known = {"probe": 9.0, "seconds": {"quick": {"fsha": [0.0, 0.0], "rmle": [0.0, 1.0]}}}
    monkeypatch.setattr(pace, "measured", lambda: known)
    monkeypatch.setattr(pace, "probe", lambda base: pytest.fail("the machine of today was probed"))
    (tmp_path / "attack.json").write_text(json.dumps(audit({"algebraic": scored(40.0)}, audited=100)))
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "attack.json"), "--out", str(tmp_path / "pace.json"), "--probe", "0.5"])
    recipe.main()
    found = json.loads((tmp_path / "pace.json").read_text())
    assert found["seconds"]["quick"] == {"algebraic": [0.0, 0.4], "fsha": [0.0, 0.0]} and found["probe"] == 0.5


@pytest.mark.parametrize("effort", ["glance", "quick"])
def test_what_ships_was_timed_for_rows_that_there_are(effort):
    shipped = pace.measured()["seconds"][effort]
    assert shipped and set(shipped) <= set(attacks.rows()) and all(fixed >= 0 and each >= 0 for fixed, each in shipped.values())
