"""``sfumato attack-weights``: arguments, exit codes, JSON."""

import json
import os
import subprocess
import sys

import pytest

from sfumato.attacker.weights import _autoencoder as autoencoder
from sfumato.diffusion.base import load_base
from sfumato.studies.lora import files as lora_files
from sfumato.studies.lora import study

ROW = {"outcome": "scored", "top1": 0.4, "low": 0.3, "high": 0.5, "n": 50, "verdict": "effective",
       "identity_similarity": {"mean": 0.25, "low": 0.2, "high": 0.3, "n": 50},
       "top5": {"mean": 0.6, "low": 0.5, "high": 0.7, "n": 50}, "rank": {"mean": 9.0, "low": 5.0, "high": 13.0, "n": 50}}  # fmt: skip


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 2)])
def test_below_the_gate_nothing_was_shown(run, monkeypatch, tmp_path, passed, code):
    asked = {}

    def run_study(base, config, work, out, attackers, **how):
        asked.update(config=config, how=how, attackers=attackers)
        return {
            "attacks": {"prior_sampling:class_prompt": ROW, "x": {"outcome": "no channel", "why": "no Trained", "n": 0}}, "owner": ROW,
            "floor": {**ROW, "top1": 0.0}, "chance": 0.005, "gate": {"passed": passed, "asked": "much"}, "settings": {},
        }  # fmt: skip

    monkeypatch.setattr(study, "run", run_study)
    how = (
        "attack-weights",
        "evaluate",
        "--out",
        tmp_path,
        "--attacker",
        tmp_path / "a.safetensors",
        "--odd",
        "--victims",
        30,
        "--attacks",
        "gradient_matching, prior_sampling:null_prompt",
    )
    got, out, _ = run(*how, "--json")
    rows = json.loads(out)["attacks"]
    assert got == code and rows["prior_sampling:class_prompt"]["top1"] == 0.4
    assert rows["prior_sampling:class_prompt"]["identity_similarity"] == 0.25
    assert rows["x"]["identity_similarity"] is None and rows["x"]["top1"] is None and rows["x"]["n"] == 0
    assert asked["config"].victims == 30 and asked["how"]["odd"] and len(asked["attackers"]) == 1
    assert asked["how"]["only"] == ("gradient_matching", "prior_sampling:null_prompt")
    got, _, err = run(*how)
    assert got == code and "no Trained" in err and ("NOT PASSED" in err) is not passed


def test_an_attacker_is_trained_and_run(run, tmp_path, monkeypatch):
    file, work = tmp_path / "a.safetensors", tmp_path / "work"
    how = ("--quick", "--as-published", "--lr", 1e-3, "--rank", 4, "--work", work, "--json")
    code, out, _ = run("attack-weights", "train", "--out", file, "--encoder", "probe", *how)
    report = json.loads(out)
    facts = json.loads(next((work / "public").glob("*.json")).read_text())
    assert facts["settings"]["rank"] == 4 and 0.7e-3 <= facts["lr"] <= 1.4e-3
    config = autoencoder.load(file, load_base()).config
    assert (config.anchored, config.log_step, config.t_from) == (False, False, 0)
    assert code == 0 and report["bytes"] == file.stat().st_size and report["knowledge"]["encoder"] == "probe"
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"")
    code, out, _ = run("attack-weights", "run", bad, "--attacker", file, "--out", tmp_path / "run", "--json")
    assert code == 2 and "error" in json.loads(out)["files"]["bad.safetensors"]
    assert run("attack-weights", "run", bad, "--attacker", file, "--out", tmp_path / "run")[0] == 2  # what is there is not overwritten
    code, _, err = run("attack-weights", "run", bad, "--attacker", file, "--out", tmp_path / "run", "--overwrite")
    assert code == 2 and ("only 0 bytes" in err or "not a readable" in err)


@pytest.mark.parametrize(("failed", "code"), [({}, 0), ({"read_identity:likelihood": "diverged"}, 2)])
def test_who_of_a_line_up_comes_first_is_said_with_what_that_means(run, monkeypatch, tmp_path, failed, code):
    ranked = {"lineup_likelihood:raw": [{"person": "anna\x1b[2J", "score": 3.25}, {"person": "bob", "score": -1.0}]}
    answer = {"header": {}, "pictures": "x.png", "scores": {}, "budget": {}, "failed": {}, "unknown keys": [],
              "line up": {"candidates": 7, "pictures of each": 2, "ranked": ranked, "failed": failed}}  # fmt: skip
    asked = {}
    monkeypatch.setattr(lora_files, "attack_files", lambda *a, **how: asked.update(how) or {"files": {"a.safetensors": answer}})
    how = ("attack-weights", "run", tmp_path / "a.safetensors", "--candidates", tmp_path / "people", "--work", tmp_path / "work")
    got, _, err = run(*how)
    assert got == code and asked["candidates"] == tmp_path / "people" and asked["work"] == tmp_path / "work"
    said = " ".join(err.split())
    assert "of 7 candidates: anna" in said and "(3.25), bob (-1)" in said and "\x1b[2J" not in err
    assert "whether or not the person is in it" in said and ("diverged" in said) is bool(failed)
    assert json.loads(run(*how, "--json")[1])["files"]["a.safetensors"]["line up"]["ranked"] == ranked


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([{"header": {"steps": 100, "family": "SDXL"}}], 0),  # of the training alone
        ([{"header": {"triggers": ["zwx"]}}], 1),
        ([{"header": {"thumbnail": {"type": "image/png"}}, "written out": ["x.png"]}], 1),
        ([{"header": {}, "error": "cut short"}], 2),
        ([{"header": {}, "failed": {"linear": "diverged"}}, {"header": {}}], 2),
        ([{"header": {}, "error": "cut short"}, {"header": {"captions": ["a"]}}], 1),  # as a gate that failed outweighs one not tested
    ],
)
def test_exit_codes_tell_what_was_found_from_what_could_not_be_read(run, monkeypatch, tmp_path, answers, code):
    whole = {"pictures": "p", "scores": {}, "budget": {}}
    files = {f"{k}.safetensors": {**whole, **answer} for k, answer in enumerate(answers)}
    monkeypatch.setattr(lora_files, "attack_files", lambda *a, **how: {"files": files})
    got, _, err = run("attack-weights", "run", *files, "--out", tmp_path / "out")
    assert got == code and ("x.png" in err) is any("written out" in answer for answer in answers)


def test_two_processes_share_the_people_and_one_speaks(mini, tmp_path):
    file, work = tmp_path / "a.safetensors", tmp_path / "work"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "sfumato.cli.main"]
    how = ["attack-weights", "train", "--out", file, "--encoder", "linear", "--quick", "--base", mini, "--work", work, "--json"]
    told = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *map(str, how)], env=told, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)  # of one process: two would be no JSON
    assert report["bytes"] == file.stat().st_size and report["people"] + report["people set aside"] == 4
    assert len(list((work / "public").glob("*.json"))) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--out", "a.bin"), ".safetensors"),
        (("train", "--out", "a.safetensors", "--encoder", "telepathy", "--quick"), "telepathy"),
        (("run", "a.safetensors", "b.safetensors", "--attacker", "c.safetensors", "--truth", "x"), "one file"),
        (("run", "a.safetensors", "--attacker", "nowhere.safetensors"), "nowhere.safetensors"),
        (("run", "a.safetensors", "--steps", "0"), "--steps 0"),
        (("run", "a.safetensors", "--class", " "), "--class"),
        (("run", "a.safetensors", "--work", "x"), "--candidates"),
        (("run", "a.safetensors", "--candidates", "nowhere"), "no such folder"),
        (("evaluate", "--effort", "heroic"), "heroic"),
        (("evaluate", "--attacks", "clairvoyance"), "prior_sampling"),
    ],
)
def test_a_wrong_call_says_what_was_wrong(run, arguments, said):
    code, _, err = run("attack-weights", *arguments)
    assert code == 2 and said in err
