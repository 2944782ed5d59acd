"""``sfumato attack-weights``: arguments, exit codes, JSON."""

import json
import os
import subprocess
import sys

import pytest

from sfumato.studies import weights

ROW = {"outcome": "scored", "top1": 0.4, "low": 0.3, "high": 0.5, "n": 50, "verdict": "effective"}


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 2)])
def test_below_the_gate_nothing_was_shown(run, monkeypatch, tmp_path, passed, code):
    asked = {}

    def study(base, config, work, out, attackers, **how):
        asked.update(config=config, how=how, attackers=attackers)
        return {
            "attacks": {"prior_sampling:class_prompt": ROW, "x": {"outcome": "no channel", "why": "no Trained", "n": 0}}, "owner": ROW,
            "floor": {**ROW, "top1": 0.0}, "chance": 0.005, "gate": {"passed": passed, "asked": "much"}, "settings": {},
        }  # fmt: skip

    monkeypatch.setattr(weights, "study", study)
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
    assert got == code and json.loads(out)["attacks"]["prior_sampling:class_prompt"]["top1"] == 0.4
    assert asked["config"].victims == 30 and asked["how"]["odd"] and len(asked["attackers"]) == 1
    assert asked["how"]["only"] == ("gradient_matching", "prior_sampling:null_prompt")
    got, _, err = run(*how)
    assert got == code and "no Trained" in err and ("NOT PASSED" in err) is not passed


def test_an_attacker_is_trained_and_run(run, tmp_path, monkeypatch):
    file, work = tmp_path / "a.safetensors", tmp_path / "work"
    code, out, _ = run("attack-weights", "train", "--out", file, "--encoder", "probe", "--quick", "--work", work, "--json")
    report = json.loads(out)
    assert code == 0 and report["bytes"] == file.stat().st_size and report["knowledge"]["encoder"] == "probe"
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"")
    code, out, _ = run("attack-weights", "run", bad, "--attacker", file, "--out", tmp_path / "run", "--json")
    assert code == 1 and "error" in json.loads(out)["files"]["bad.safetensors"]


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
        (("evaluate", "--effort", "heroic"), "heroic"),
        (("evaluate", "--attacks", "clairvoyance"), "prior_sampling"),
    ],
)
def test_a_wrong_call_says_what_was_wrong(run, arguments, said):
    code, _, err = run("attack-weights", *arguments)
    assert code == 2 and said in err
