"""What privacy costs on somebody's own pictures: trials of each point are attacked, and the best that passed is named."""

import json

import pytest

from sfumato.core.errors import UserError
from sfumato.records import manifest as manifests
from sfumato.records.record import SealSettings
from sfumato.studies import own_frontier
from sfumato.studies.own_frontier import OwnConfig
from sfumato.studies.records import audit

POINTS = ("sealed-derived:seal_step=900", "sealed:seal_step=300,condition_step=100")
WORTH = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 4}


def cell(score):
    return {"score": score, "low": score - 0.01, "high": score + 0.01, "prior_only": 0.3, "chance": 0.1,
            "difference": [score - 0.3, score - 0.31, score - 0.29], "n": 100, "people": 100, "effective": score > 0.4}  # fmt: skip


def scored(**targets):
    return {"outcome": "scored", "why": "", "pools": {"records": {"targets": targets}}}


@pytest.fixture
def measured(base, make_folder, tmp_path, home, monkeypatch):
    """Two folders; training is taken as done, and attacks get more of what is sealed lower."""
    folders, seen = (make_folder("a", count=3), make_folder("b", count=3, seed=1)), []

    def compared(config, out, **how):
        seen.append(config)
        return {"yours": {name: {"adherence": WORTH} for name in (*config.arms, "no_control")}, "folders": {"notes": ["a note"]}}

    def attacked(records, truth, out, config, **how):
        manifest = manifests.read(records)
        assert manifest.standing == "trial" and truth in folders and out.parent == records.parent
        got = 0.3 if manifest.settings.derived else 0.9
        seen.append((manifest.settings, config))
        silent = {"person": "nobody is named"}
        return {
            "attacks": {"rmle": scored(picture=cell(got), condition=cell(got))},
            "leaks": {"Latents": 1},
            "unasked": silent,
            "gates": [],
        }

    monkeypatch.setattr(own_frontier, "load_base", lambda **how: base)
    monkeypatch.setattr(own_frontier.compare, "run", compared)
    monkeypatch.setattr(audit, "run", attacked)
    return folders, seen


def test_each_point_is_sealed_as_a_trial_attacked_and_judged_by_its_gates(measured, tmp_path, home):
    folders, seen = measured
    config = OwnConfig(folders=folders, points=POINTS, steps=7, seed=3, public=tmp_path)
    out = tmp_path / "out"
    figures = own_frontier.run(config, out)
    assert seen[0].steps == 7 and seen[0].seeds == (3,) and set(POINTS) <= set(seen[0].arms) and seen[0].folders == folders
    assert [settings.seal_step for settings, _ in seen[1:]] == [900, 900, 300, 300] and seen[1][1].seed == 3
    held = [figures["points"][word] for word in POINTS]
    assert [one["passed"] for one in held] == [True, False] and held[1]["seen"]["picture"]["score"] == 0.9
    assert {gate["name"]: gate["passed"] for gate in held[0]["gates"]} == {"person": None, "picture": True, "condition": True}
    assert figures["best"] == POINTS[0] and "--seal-step 900" in figures["next"][0] and "7 steps" in figures["few"]
    assert json.loads((out / "calibrate.json").read_text())["points"] == json.loads(json.dumps(figures["points"]))
    assert str(tmp_path) not in (out / "calibrate.json").read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (out, *out.rglob("*")))
    assert not (home / "ledger/releases.jsonl").exists()  # nothing counts as released
    again = own_frontier.run(config, out)  # trials are gone on with, and not drawn again
    assert again["points"] == figures["points"]


def test_what_does_not_fit_is_refused_before_any_work(measured, tmp_path):
    folders, seen = measured
    for wrong, said in (
        ({"points": ("oneway:t_min=0",)}, "--point oneway"), ({"points": ("telepathy",)}, "unknown scheme"),
        ({"condition": "given"}, "--public"), ({"condition": "given", "points": POINTS[:1], "public": tmp_path}, "--condition given"),
        ({"points": ("sealed:seal_step=300,clipp=3",)}, "clipp"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            own_frontier.run(OwnConfig(folders=folders, **wrong), tmp_path / "out")
    with pytest.raises(UserError, match="or around it"):
        own_frontier.run(OwnConfig(folders=folders, points=POINTS), tmp_path)
    assert seen == []


def test_the_best_that_passed_is_taken_and_none_where_an_attack_came_to_nothing():
    points = {name: {"adherence": {"mean": a}, "passed": passed, "failed": failed} for name, a, passed, failed in (
        ("a", 0.9, False, []), ("b", 0.8, None, []), ("c", 0.7, True, ["rmle"]), ("d", 0.5, True, []), ("e", 0.6, True, []))}  # fmt: skip
    assert own_frontier.choose(points) == "e" and own_frontier.choose({"c": points["c"]}) is None


def test_the_commands_seal_what_was_measured():
    clipped = SealSettings(condition="given", seal_step=600, condition_step=200, clip=20.0, condition_clip=9.0, bits=8)
    seal, attack = own_frontier.commands(clipped)
    assert "--condition given --seal-step 600 --condition-step 200 --clip 20 --condition-clip 9 --bits 8" in seal
    assert attack.startswith("sfumato attack RECORDS")
    bare = own_frontier.commands(SealSettings(condition="canny", seal_step=None, condition_step=None))[0]
    assert "--seal-step none --condition-step none" in bare
