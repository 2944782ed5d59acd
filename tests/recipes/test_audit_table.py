"""The table of the audit: every planted leak is found, no copy keeps one, and the committed figures are these."""

import json
from pathlib import Path

from sharing_support import DIALECTS, LEAKS
from tests_support import load_recipe

COMMITTED = Path(__file__).parents[2] / "docs" / "audit.json"


def test_the_committed_table_is_of_todays_files_and_has_no_gap():
    found = json.loads(COMMITTED.read_text())
    assert set(found["dialects"]) == set(DIALECTS) and set(found["leaks"]) == set(LEAKS) and found["files"] >= 40
    assert all(row["found"] == row["planted"] == len(LEAKS) and row["left"] == 0 for row in found["dialects"].values())
    assert {name: row["alarms"] for name, row in found["dialects"].items() if row["alarms"]} == {"onetrainer": ["tensor-name"]}


def test_the_committed_costs_are_within_what_was_promised():
    cost = json.loads(COMMITTED.read_text())["cost"]
    assert cost["file"]["bytes"] >= 2e8 and cost["file"]["seconds"] <= 2 and cost["file"]["peak_mb"] <= 300
    assert cost["folder"]["files"] >= 100_000 and cost["folder"]["seconds"] <= 20


def test_costs_are_of_a_whole_command(tmp_path):
    recipe = load_recipe("audit_table")
    found = recipe.cost(tmp_path, layers=2, many=10)
    assert found["folder"]["files"] == 10 and found["like"]["bytes"] == 2 * found["file"]["bytes"] > 4 * 32 * 1280 * 2
    assert all(one["seconds"] > 0 and one["processor_seconds"] > 0 and one["peak_mb"] > 10 for one in found.values())


def test_a_row_is_measured_as_it_stands_there(tmp_path, monkeypatch):
    recipe = load_recipe("audit_table")
    monkeypatch.setattr(recipe.support, "DIALECTS", {"kohya sd1": DIALECTS["kohya sd1"], "oft": DIALECTS["oft"]})
    monkeypatch.setattr(recipe.support, "LEAKS", {rule: LEAKS[rule] for rule in ("caption", "seed")})
    found = recipe.measure(tmp_path)
    assert found["files"] == 6 and [row["change"] for row in found["dialects"].values()] == ["computed", "named"]
    assert found["leaks"]["seed"] == {"planted": 2, "found": 2, "left": 0}


def test_what_is_not_found_is_counted(tmp_path, monkeypatch):
    recipe = load_recipe("audit_table")
    monkeypatch.setattr(recipe.files, "of_file", lambda path: ("a LoRA", [], []))
    monkeypatch.setattr(recipe.support, "DIALECTS", {"oft": DIALECTS["oft"]})
    assert recipe.measure(tmp_path)["dialects"]["oft"]["found"] == 0
