"""The commands of shared weights run on a base of SD's kind from a folder, and files are counted as they are."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from sfumato.adapters import dreambooth
from sfumato.attacker.weights import _sampling as weights_sampling
from sfumato.cli import main as cli
from sfumato.studies.lora import judge
from tests_support import few_steps, load_recipe

recipe = load_recipe("sd15_weights")


def test_what_is_in_a_file_is_counted(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(5)}, path)
    assert recipe.shapes_in(path) == {"bytes": path.stat().st_size, "tensors": 2, "numbers": 11}


def test_a_command_gives_what_it_printed_and_its_time():
    said = recipe.command("version")
    assert said["wall"] > 0 and "sfumato" in json.dumps(said)


def test_every_command_is_run_and_kept(mini, tmp_path, monkeypatch, capsys):
    def here(*words):  # a process for each would take a minute
        monkeypatch.setattr(sys, "argv", ["sfumato", *words, "--json"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (None, 0, recipe.BELOW_THE_GATE)
        return {**json.loads(capsys.readouterr().out), "wall": 1.0}

    load = judge.store.load
    monkeypatch.setattr(judge.store, "load", lambda style, pool, count, **how: load(style, pool, min(count, 120), **how))
    few_steps(monkeypatch, dreambooth, weights_sampling)
    monkeypatch.setattr(recipe, "command", here)
    out = tmp_path / "figures.json"
    recipe.main(["--base", str(mini), "--work", str(tmp_path / "work"), "--json", str(out), "--encoder", "probe"])
    figures = json.loads(out.read_text())
    rows = figures["commands"]
    assert figures["command"] == "python recipes/sd15_weights.py --encoder probe" and figures["pixels"] == 32
    one, other = rows["finetune, diffusers"], rows["finetune, kohya"]
    assert one["layers"] == other["layers"] and one["parameters"] == one["numbers"]
    assert other["tensors"] == 3 * other["layers"] and other["numbers"] == other["parameters"] + other["layers"]  # alpha beside A and B
    assert rows["attack-weights train, probe"]["adapters"] > 0
    assert rows["attack-weights run"]["attacks"] == [
        "network_autoencoder:probe", "prior_sampling:class_prompt", "prior_sampling:rare_tokens"
    ]  # fmt: skip
    assert rows["attack-weights run"]["unknown keys"] == []
    study = rows["attack-weights evaluate"]
    assert study["victims"] == 4 and study["line-up"] >= 200 and study["attacks"][recipe.EVALUATED]["n"] == 4


def test_a_command_that_fails_ends_it():
    with pytest.raises(SystemExit, match="no-such-command ended with"):
        recipe.command("no-such-command")
