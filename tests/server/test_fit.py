"""The loop on its own: what it returns, what it saves, what it refuses, whatever the loss is."""

import math
from itertools import pairwise

import pytest
import torch

from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.server import fit as loop
from sfumato.server.fit import TrainConfig, fit, rate


def config(**changes):
    return TrainConfig(**{"steps": 4, "batch": 1, "warmup": 1, "checkpoint_every": 2, "weight_decay": 0.0, **changes})


def model_of(base):
    return nets.new_controlnet(base, generator=generator(0))


def pull(model, step, part):
    """Pull one weight towards 1."""
    return (model.conv_in.bias - 1).square().sum()


@torch.no_grad()
def distance(model, step, part):
    return pull(model, step, part)


def run(base, out, *, loss=pull, **how):
    settings = how.pop("config", config())
    return fit(model_of(base), base, out, settings, run=how.pop("run", "a"), loss=loss, **how)


def test_it_descends_and_gives_back_frozen_averages(base, tmp_path):
    before = float(distance(model_of(base), 0, 0))
    made = run(base, tmp_path, config=config(steps=30, lr=0.05, ema=0.5))
    assert float(distance(made, 0, 0)) < 0.5 * before
    assert not made.training and not any(p.requires_grad for p in made.parameters())


def test_trainings_of_one_process_may_differ_in_precision(base, tmp_path):
    made = [run(base, tmp_path / name, config=config(precision=precision)) for name, precision in (("a", "no"), ("b", "bf16"), ("c", "no"))]
    first, _, third = (net.conv_in.bias for net in made)
    assert torch.equal(first, third)


def test_without_an_average_the_last_weights_come_back(base, tmp_path):
    model = model_of(base)
    made = fit(model, base, tmp_path, config(ema=0.0), run="a", loss=pull)
    assert torch.equal(made.conv_in.bias, model.conv_in.bias) and not torch.equal(made.conv_in.bias, model_of(base).conv_in.bias)


def test_the_first_weights_weigh_little_in_an_average_of_few(base, tmp_path):
    slow = run(base, tmp_path / "slow", config=config(steps=8, lr=0.05, ema=0.999))
    assert float(distance(slow, 0, 0)) < float(distance(model_of(base), 0, 0))  # a fixed decay of 0.999 would hardly have moved


@pytest.mark.parametrize("steps", [10, 400])
def test_the_rate_rises_then_falls_to_nothing(steps):
    settings = config(steps=steps, warmup=5)
    rates = [rate(step, settings) for step in range(steps)]
    assert rates[0] == pytest.approx(0.2) and max(rates) <= 1 and rates[-1] < 0.05 and rates.index(max(rates)) <= 5
    assert all(later < sooner for sooner, later in pairwise(rates[5:]))


def test_parts_of_a_step_are_averaged(base, tmp_path):
    seen = []

    def loss(model, step, part):
        seen.append((step, part))
        return pull(model, step, part) * (part + 1)

    told = []
    run(base, tmp_path, loss=loss, config=config(steps=2, accumulation=3), on_step=told.append)
    assert seen == [(step, part) for step in range(2) for part in range(3)]
    assert told[0].loss == pytest.approx(2 * float(distance(model_of(base), 0, 0)), rel=1e-5)  # (1 + 2 + 3) / 3


def test_what_is_kept_aside_is_measured_at_checkpoints_only(base, tmp_path):
    told = []
    run(base, tmp_path, config=config(steps=5), held_out=lambda model: 7.0, on_step=told.append)
    assert [p.held_out_loss for p in told] == [None, 7.0, None, 7.0, 7.0] and [p.step for p in told] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_is_learnt(base, tmp_path, value):
    def loss(model, step, part):
        return pull(model, step, part) * (value if step == 2 else 1.0)

    with pytest.raises(UserError, match="at step 2"):
        run(base, tmp_path, loss=loss)
    made = run(base, tmp_path)  # the checkpoint before it is whole
    assert all(bool(p.isfinite().all()) for p in made.parameters())


def test_a_run_goes_on_and_another_one_is_refused(base, tmp_path):
    steps = []
    run(base, tmp_path, config=config(steps=4))
    run(base, tmp_path, config=config(steps=4), on_step=lambda p: steps.append(p.step))
    assert steps == []  # it was done
    with pytest.raises(UserError, match="another run"):
        run(base, tmp_path, run="b")


def test_a_run_that_cannot_resume_starts_over_but_takes_over_nobody_elses(base, tmp_path):
    steps = []
    run(base, tmp_path, config=config(steps=2), resume=False)
    run(base, tmp_path, config=config(steps=2), resume=False, on_step=lambda p: steps.append(p.step))
    assert steps == [1, 2]
    with pytest.raises(UserError, match="another run"):
        run(base, tmp_path, run="b", resume=False)


def test_what_a_kill_left_of_a_checkpoint_is_swept_up(base, tmp_path):
    stray = tmp_path / f".{loop.CHECKPOINT}.abc.partial"
    stray.write_bytes(b"half")
    run(base, tmp_path)
    assert not stray.exists() and (tmp_path / loop.CHECKPOINT).exists()


def test_only_what_decides_the_weights_identifies_a_run():
    assert config().identity() == config(checkpoint_every=3, validate_every=5, tensorboard=True).identity()
    for change in ({"lr": 1e-5}, {"seed": 1}, {"batch": 2}, {"ema": 0.5}, {"precision": "bf16"}):
        assert config().identity() != config(**change).identity()


def test_validation_is_shown_the_average_as_often_as_asked(base, tmp_path):
    shown = []
    run(base, tmp_path, config=config(steps=6, validate_every=3), validate=lambda model, step: shown.append((step, model.training)))
    assert shown == [(3, False), (6, False)]
