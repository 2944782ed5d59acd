"""``sfumato calibrate`` and ``sfumato seal --privacy``."""

import json

import pytest

from sfumato.diffusion.base import load_base
from sfumato.records import presets
from sfumato.studies import frontier, own_frontier


@pytest.fixture
def measured(monkeypatch):
    base = load_base()
    person = {"score": 0.1, "low": 0.05, "high": 0.2, "upper": 0.2, "floor": 0.01, "attack": "pooling, recombined", "chance": 0.005}
    found = {"adherence": {"mean": 0.7}, "person": person}
    figures = {
        "points": {"sealed:seal_step=800,condition_step=400": found, "oneway:t_min=0": {**found, "person": None}},
        "presets": {"medium": {"scheme": "sealed:seal_step=800,condition_step=400", **found, "share_of_centralised": 0.9, "met": False}},
        "beside": {}, "shifted": {}, "settings": {}, "base": base.fingerprint, "latent": list(base.latent_shape), "command": "x",
        "condition": "canny",
    }  # fmt: skip
    asked = []
    monkeypatch.setattr(frontier, "run", lambda *a, **k: asked.append(k["command"]) or figures)
    return asked


def test_a_level_can_be_sealed_at_once_it_was_calibrated(run, measured, make_folder, tmp_path, home):
    code, out, err = run("calibrate", "--out", tmp_path / "f", "--install", "--json")
    assert code == 0 and "medium" in json.loads(out)["presets"] and "not tested" in err
    code, out, _ = run("seal", make_folder(), "--out", tmp_path / "records", "--owner", "me", "--privacy", "medium", "--json")
    assert code == 0 and json.loads(out)["records"] == 10
    settings = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert '"seal_step": 800' in json.dumps(settings) and '"condition_step": 400' in json.dumps(settings)
    code, _, err = run("seal", make_folder("again", seed=1), "--out", tmp_path / "r3", "--owner", "me", "--privacy", "medium")
    assert code == 0 and "0.100 [0.050, 0.200]" in err and "no guarantee" in err and "NOT MET" in err
    code, _, err = run("seal", make_folder("other"), "--out", tmp_path / "r2", "--owner", "me", "--privacy", "high")
    assert code == 2 and "no preset 'high'" in err and "medium: no point that was measured hides as much as high" in err


def test_no_preset_is_used_where_none_was_measured(run, make_folder, tmp_path, mini, home):
    how = ("seal", make_folder(), "--out", tmp_path / "records", "--owner", "me", "--privacy", "medium")
    code, _, err = run(*how, "--base", mini)
    assert code == 2 and "see what sfumato attack gets from them" in err and not (tmp_path / "records").exists()
    code, _, err = run(*how, "--seal-step", "300")
    assert code == 2 and "one or the other" in err
    code, _, err = run("calibrate", "--base", mini)
    assert code == 2 and "sfumato attack" in err


def test_calibration_stays_without_effect_until_it_is_installed(run, measured, tmp_path, home):
    base = load_base()
    code, _, err = run("calibrate", "--out", tmp_path)
    assert code == 0 and "--install" in err
    assert run("calibrate", "--out", tmp_path, "--shifted", "--point", "sealed:seal_step=700")[0] == 0
    assert run("calibrate", "--out", tmp_path, "--steps", 9, "--seed", 4, "--no-install")[0] == 0
    assert not presets.path_of(base.fingerprint).exists()
    words = ["", " --point sealed:seal_step=700 --shifted", " --steps 9 --seed 4"]
    assert measured == [f"sfumato calibrate{word}" for word in words]


def test_on_folders_of_ones_own_points_are_shown_and_no_level_is_made(run, monkeypatch, tmp_path, home):
    asked = []
    cell = {"attack": "rmle", "score": 0.4, "low": 0.3, "high": 0.5, "prior_only": 0.35, "n": 70}
    silent = {"name": "person", "passed": None, "found": "nobody is named", "asked": "", "unasked": True}
    found = {"adherence": {"mean": 0.7}, "passed": True, "seen": {"picture": cell, "person": None}, "gates": [silent]}
    figures = {"points": {"sealed-derived:seal_step=900": found}, "best": "sealed-derived:seal_step=900", "few": "", "notes": ["a note"],
               "next": ["sfumato seal PICTURES"]}  # fmt: skip
    monkeypatch.setattr(own_frontier, "run", lambda config, out, **how: asked.append((config, how["command"])) or figures)
    how = ("calibrate", tmp_path / "a", tmp_path / "b", "--steps", 9, "--seed", 4, "--condition", "scribble", "-o", tmp_path / "out")
    code, _, err = run(*how)
    assert code == 0 and "rmle" in err and "person: not asked: nobody is named" in err and "next: sfumato seal PICTURES" in err
    config, command = asked[0]
    assert config.folders == (tmp_path / "a", tmp_path / "b") and (config.steps, config.seed, config.condition) == (9, 4, "scribble")
    assert command == "sfumato calibrate a b --steps 9 --seed 4 --condition scribble"
    code, out, _ = run(*how, "--json")
    assert code == 0 and json.loads(out)["best"] == figures["best"] and not presets.path_of(load_base().fingerprint).exists()
    for wrong in ((*how, "--shifted"), (*how, "--install"), ("calibrate", "--condition", "scribble"), ("calibrate", "--effort", "glance"),
                  (*how, "--steps", 0), ("calibrate", "--seed", -1)):  # fmt: skip
        assert run(*wrong)[0] == 2 and len(asked) == 2
