import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.records.reader import Records
from sfumato.server import validate
from sfumato.server.fit import TrainConfig
from sfumato.server.generate import generate
from sfumato.server.train import Captioned, train
from tests_support import KILLS

WEIGHTS = "diffusion_pytorch_model.safetensors"


def records(count=24, n=500, m=100):
    draws = torch.Generator().manual_seed(0)
    z, c = (torch.randn(count, 4, 8, 8, generator=draws) for _ in range(2))
    return Records(z, c, torch.full((count,), n), torch.full((count,), m), (), ())


def config(**changes):
    return TrainConfig(**{"steps": 6, "batch": 4, "checkpoint_every": 2, "held_out": 4, "warmup": 1, **changes})


def test_training_lowers_the_loss_and_writes_a_controlnet(base, tmp_path):
    losses = []
    train(records(), base, tmp_path, config(steps=30, lr=3e-3), on_step=lambda p: losses.append(p.loss))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    model, settings = load_latent_controlnet(tmp_path)
    assert settings["condition_scale"] == 1.0  # c itself is shown at generation
    assert settings["context"] == "zeros" and not model.training


def test_resume_is_bit_equal(base, tmp_path):
    train(records(), base, tmp_path / "whole", config())

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(records(), base, tmp_path / "parts", config(), on_step=kill)
    steps = []
    train(records(), base, tmp_path / "parts", config(), on_step=lambda p: steps.append(p.step))
    assert steps == [3, 4, 5, 6]
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_checkpoint_of_another_run_is_not_mixed_in(base, tmp_path):
    train(records(), base, tmp_path, config())
    with pytest.raises(UserError, match="another run"):
        train(records(), base, tmp_path, config(seed=1))


def test_a_checkpoint_that_was_cut_short_is_named(base, tmp_path):
    train(records(), base, tmp_path, config(steps=2))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="checkpoint.safetensors: not a readable"):
        train(records(), base, tmp_path, config(steps=2))
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cut short"):
        train(records(), base, tmp_path, config(steps=2))


def test_accumulation_takes_more_records_to_a_step(base, tmp_path):
    train(records(), base, tmp_path, config(accumulation=2, steps=2))
    assert load_latent_controlnet(tmp_path)[1]["train"]["accumulation"] == 2


def test_sealed_at_the_last_step_nothing_is_left(base, tmp_path):
    with pytest.raises(UserError, match="lower step"):
        train(records(n=999), base, tmp_path, config())


def test_held_out_records_are_measured_and_validation_pictures_written(base, tmp_path):
    held_out = []
    train(
        records(), base, tmp_path, config(validate_every=3, tensorboard=True),
        on_step=lambda p: held_out.append(p.held_out_loss), validate=validate.saver(records(), base, tmp_path, seed=0, count=2),
    )  # fmt: skip
    assert [h is not None for h in held_out] == [False, True, False, True, False, True]
    assert sorted(p.name for p in (tmp_path / "validation").iterdir()) == ["000003.png", "000006.png"]
    assert list((tmp_path / "logs").iterdir())


def test_captions_reach_the_controlnet_only_in_the_clear_arms(base, tmp_path):
    context = base.embed(["abc"] * 24)
    train(records(n=-1, m=-1), base, tmp_path, config(steps=2), captions=Captioned(context))
    settings = load_latent_controlnet(tmp_path)[1]
    assert settings["context"] == "captions" and settings["condition_scale"] == 1.0


@pytest.mark.parametrize("values", [{"steps": 0}, {"precision": "int8"}, {"ema": 1.0}, {"batch": 0}, {"held_out": -1}])
def test_senseless_settings_are_refused(values):
    with pytest.raises(ValueError, match="must|expected"):
        config(**values)


def test_arms_share_their_starting_noise(base, tmp_path):
    train(records(), base, tmp_path, config(steps=1, lr=1e-12))
    model, settings = load_latent_controlnet(tmp_path)
    conditions = np.zeros((3, 32, 32, 3), np.uint8)
    plain = generate(base, ["a"] * 3, seed=5, steps=2)
    control = generate(base, ["a"] * 3, seed=5, steps=2, controlnet=model, settings=settings, conditions=conditions)
    assert np.abs(plain.astype(int) - control).max() <= 1 and len(plain) == 3
    assert not np.array_equal(plain, generate(base, ["a"] * 3, seed=6, steps=2))


def test_generator_depends_on_every_key():
    draws = {float(torch.rand(1, generator=generator(*keys))) for keys in ((0, 1), (1, 0), (0, 1, 0), (0, 2))}
    assert len(draws) == 4


def test_kill_nine_ends_in_the_same_weights(mini, tmp_path):
    script = (
        "import sys, torch\n"
        f"sys.path[:0] = [{os.path.dirname(__file__)!r}, {os.path.dirname(os.path.dirname(__file__))!r}]\n"
        "from pathlib import Path\n"
        "from test_train import config, records\n"
        "from sfumato.diffusion.base import load_base\n"
        "from sfumato.server.train import train\n"
        f"base = load_base({str(mini)!r})\n"
        "print('ready', flush=True)\n"
        f"train(records(), base, Path(sys.argv[1]), config(steps={20 * KILLS}, checkpoint_every=1))\n"
    )
    draw = np.random.default_rng(1)
    kills = 0
    for name, wanted in (("whole", 0), ("killed", KILLS)):
        done = False
        while not done:
            process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert process.stdout.readline() == b"ready\n"
            if kills < wanted:
                time.sleep(draw.uniform(0.1, 0.8))
                process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            kills += process.returncode == -9
            assert process.returncode in (0, -9), errors.decode()
            done = process.returncode == 0
    assert kills == KILLS
    whole, killed = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
