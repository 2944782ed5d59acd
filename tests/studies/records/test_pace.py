"""What is said beforehand of an attack's time: from what was measured, on this machine, and no attack is forgotten."""

import pytest

from sfumato.attacker import attempt as attempts
from sfumato.attacker.records import base as attacks
from sfumato.studies.records import pace
from sfumato.studies.records.audited import taken


def test_attacks_that_have_something_to_work_on_in_records_were_timed():
    for effort in ("glance", "quick"):
        rows = {row for row in attacks.rows() if attempts.count(attacks.attack(row.partition(":")[0]), effort, row.partition(":")[2])}
        never = rows - pace.measured()["seconds"][effort].keys()
        assert len(never) < len(rows) / 3 and "direct_identity" not in never


def test_seconds_grow_with_the_records_that_are_attacked_and_with_a_slower_machine():
    row, most = "diffusion_prior:ddim", taken("diffusion_prior:ddim", "quick", 10**6)
    assert 64 <= most < attempts.count(attacks.attack("diffusion_prior"), "quick", "ddim")  # a matrix takes more of each pool
    assert taken("direct_identity", "quick", 10**6) > most and taken("rmle", "glance", 10) == 0
    fixed, each = pace.measured()["seconds"]["quick"][row]
    assert pace.seconds(row, "quick", 10) == pytest.approx(fixed + 10 * each)
    assert pace.seconds(row, "quick", 10**6, slower=3.0) == pytest.approx(3 * (fixed + most * each))
    assert pace.seconds("of somebody else", "quick", 10) is None


def test_a_plan_names_what_takes_long_and_what_was_never_timed(base, monkeypatch):
    monkeypatch.setattr(pace, "_factors", {id(base): 2.0})
    plan = pace.plan(["algebraic", "diffusion_prior:ddim", "of somebody else"], "quick", 200, base)
    span = pace.words(2 * pace.seconds("diffusion_prior:ddim", "quick", 200))
    assert f"diffusion_prior:ddim {span}" in plan[0] and "of somebody else" in plan[1]
    assert pace.total(["diffusion_prior:ddim"], "quick", 200, base) == pytest.approx(2 * pace.seconds("diffusion_prior:ddim", "quick", 200))
    assert pace.words(2 * pace.seconds("diffusion_prior:ddim", "quick", 200)) in pace.left(["diffusion_prior:ddim"], "quick", 200, base)
    assert pace.plan(["averaging"], "quick", 200, base) == []  # which most records give nothing to work on


def test_seconds_are_never_said_more_exactly_than_they_are_known(base):
    assert [pace.words(span) for span in (0.2, 42, 89, 100, 5399, 9000)] == ["5 s", "40 s", "90 s", "2 min", "90 min", "2.5 h"]
    assert pace.probe(base) > 0 and pace.slower(base) == pytest.approx(pace.probe(base) / pace.measured()["probe"], rel=5)


def test_several_at_a_time_take_less_but_no_less_than_the_longest(base):
    rows = ["diffusion_prior:ddim", "direct_identity"]
    each = [pace.seconds(row, "quick", 200, slower=pace._slower(id(base), base)) for row in rows]
    assert pace.words(max(each)) in pace.plan(rows, "quick", 200, base, jobs=4)[0]
    assert "4 at a time" in pace.plan(rows, "quick", 200, base, jobs=4)[0]
