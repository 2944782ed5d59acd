"""Fine-tuning by PEFT: what it learns, what it keeps, how it goes on; and the draws and the loss that all training shares."""

import dataclasses

import pytest
import torch

from adapters_support import output, task_of
from sfumato.adapters.dreambooth import FinetuneConfig, Step, Task, class_latents, contexts_of, draw, losses, tokens_of
from sfumato.adapters.lora import LoraSettings, attached
from sfumato.adapters.train_one import FIRST_WEIGHTS, first_adapter, run_of, seed_of, train_one
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import load_base

SMALL = LoraSettings(rank=2)


def config(**changes):
    return FinetuneConfig(**{"steps": 6, "batch": 2, "lr": 1e-2, "checkpoint_every": 2, **changes})


def equal(one, two):
    return all(torch.equal(x, y) for name in one.factors for x, y in zip(one.factors[name], two.factors[name], strict=True))


# ---------------------------------------------------------------- the data of one step


def test_a_step_is_a_function_of_seed_and_number(base):
    one, two = task_of(1), task_of(2)
    alone, beside = draw(base, [one], config(), 3), draw(base, [two, one], config(), 3)
    g = len(alone.t)
    assert g == 4 and len(beside.t) == 8  # the person's first, then the class's
    for name in ("z_0", "eps", "t", "text"):
        assert torch.equal(getattr(alone, name), getattr(beside, name)[g:])
    assert not torch.equal(draw(base, [one], config(), 4).eps, alone.eps)


def test_rows_are_the_persons_and_then_the_classes(base):
    task = task_of(1)
    drawn = draw(base, [task], config(batch=3, prior_batch=2), 0)
    for row in drawn.z_0[:3]:
        assert any(torch.equal(row, z) for z in task.latents)
    for row in drawn.z_0[3:]:
        assert any(torch.equal(row, z) for z in task.class_latents)
    assert drawn.text.tolist() == [0, 0, 0, 1, 1]


def test_every_picture_is_drawn_as_often_as_the_others(base):
    task = task_of(1, count=5)
    drawn = draw(base, [task], config(batch=8), 0)
    times = [sum(torch.equal(row, z) for row in drawn.z_0[:8]) for z in task.latents]
    assert sum(times) == 8 and set(times) == {1, 2}


def test_each_picture_reads_its_own_prompt(base):
    task = dataclasses.replace(task_of(1), prompts=("a", "b", "a"))
    assert task.texts == ("a", "b", "a peep")
    drawn = draw(base, [task], config(batch=6), 0)
    for row, text in zip(drawn.z_0[:6], drawn.text[:6], strict=True):
        at = next(i for i, z in enumerate(task.latents) if torch.equal(row, z))
        assert task.texts[int(text)] == task.prompts[at]


def test_tokens_of_tasks_with_fewer_texts_are_filled_up(base):
    many = dataclasses.replace(task_of(1), prompts=("a", "b", "c"))
    tokens = tokens_of(base, [many, task_of(2)])
    assert tokens.shape == (2, 4, 12) and torch.equal(tokens[1, 1], tokens[1, 3])
    with torch.no_grad():
        assert torch.allclose(contexts_of(base, tokens)[0, 1], base.embed(["b"])[0], atol=1e-6)


def test_class_pictures_are_the_bases_own_and_repeatable(base):
    one, two = (class_latents(base, "a peep", 3, generator=generator(5)) for _ in range(2))
    assert one.shape == (3, 4, 8, 8) and torch.equal(one, two)


# ---------------------------------------------------------------- the loss


class Says:
    """A UNet that says ``answer``."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, z_t, t, encoder_hidden_states):
        return type("Output", (), {"sample": self.answer(z_t)})


def drawn_of(size):
    draws = generator(0)
    z_0, eps = (torch.randn((size, 4, 8, 8), generator=draws) for _ in range(2))
    return Step(z_0=z_0, eps=eps, t=torch.tensor([5, 300, 700, 999] * size)[:size], text=torch.zeros(size, dtype=torch.long))


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_the_prior_weighs_what_it_should(base, weight):
    drawn = drawn_of(3)  # two of the person, one of the class
    off = torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1, 1)
    wrong = dataclasses.replace(base, unet=Says(lambda z_t: drawn.eps + off))
    got = losses(wrong, drawn, torch.zeros((1, 1, 2, 4)), config(batch=2, prior_batch=1, prior_weight=weight))
    assert float(got) == pytest.approx((1 + 4) / 2 + weight * 9, rel=1e-5)


def test_each_adapter_loses_by_its_own_rows(base):
    drawn = drawn_of(4)
    off = torch.tensor([1.0, 1.0, 3.0, 3.0]).view(-1, 1, 1, 1)
    wrong = dataclasses.replace(base, unet=Says(lambda z_t: drawn.eps + off))
    got = losses(wrong, drawn, torch.zeros((2, 1, 2, 4)), config(batch=2))
    assert got.tolist() == pytest.approx([1.0, 9.0], rel=1e-5)


def test_each_row_reads_its_own_adapters_own_text(base):
    class Reads(Says):
        def __call__(self, z_t, t, encoder_hidden_states):
            self.read = encoder_hidden_states
            return super().__call__(z_t, t, encoder_hidden_states)

    drawn = dataclasses.replace(drawn_of(4), text=torch.tensor([0, 1, 1, 0]))
    unet = Reads(lambda z_t: z_t)
    contexts = torch.arange(4.0).view(2, 2, 1, 1)  # adapter 0 has texts 0 and 1, adapter 1 has texts 2 and 3
    losses(dataclasses.replace(base, unet=unet), drawn, contexts, config(batch=2))
    assert unet.read.flatten().tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_right_answer_costs_nothing(base, kind):
    drawn = drawn_of(4)
    alpha, sigma = (x.float().view(-1, 1, 1, 1) for x in (base.schedule.alpha(drawn.t), base.schedule.sigma(drawn.t)))
    answers = {"epsilon": drawn.eps, "v_prediction": alpha * drawn.eps - sigma * drawn.z_0}
    right = dataclasses.replace(base, unet=Says(lambda z_t: answers[kind]), prediction_type=kind)
    assert float(losses(right, drawn, torch.zeros((1, 1, 2, 4)), config(batch=4)).detach()) < 1e-9


# ---------------------------------------------------------------- training


def test_it_learns_and_leaves_the_base_as_it_was(base):
    before, rng = output(base), torch.get_rng_state()
    made = train_one(base, task_of(1, prior=False), LoraSettings(rank=4), config(steps=40, batch=4))

    def loss_under(adapter):
        drawn = draw(base, [task_of(1, prior=False)], config(batch=24), 10**6)
        with torch.no_grad(), attached(base, adapter):
            return float(losses(base, drawn, contexts_of(base, tokens_of(base, [task_of(1)])), config(batch=24)))

    assert loss_under(made.adapter) < 0.985 * loss_under(first_adapter(base, LoraSettings(rank=4), task_of(1)))
    assert torch.equal(output(base), before) and torch.equal(torch.get_rng_state(), rng)
    assert not any(p.requires_grad for p in [*base.unet.parameters(), *base.text_encoder.parameters()])
    with attached(base, made.adapter):
        assert not torch.allclose(output(base), before, atol=1e-3)


def test_same_seed_same_weights_another_seed_others(base):
    one, two, other = (train_one(base, task_of(seed), SMALL, config(steps=2)).adapter for seed in (1, 1, 3))
    assert equal(one, two) and not equal(one, other)


def test_every_trained_factor_moves_and_no_other_exists(base):
    made = train_one(base, task_of(1), SMALL, config(steps=3))
    start = first_adapter(base, SMALL, task_of(1))
    assert made.adapter.factors.keys() == start.factors.keys() and made.adapter.alphas == start.alphas
    for name, (a, b) in made.adapter.factors.items():
        assert not torch.equal(a, start.factors[name][0]) and b.any(), name


def test_steps_on_the_way_are_those_of_shorter_runs(base):
    made = train_one(base, task_of(1), SMALL, config(), keep=(0, 2, 6))
    assert sorted(made.kept) == [0, 2, 6] and equal(made.kept[6], made.adapter)
    assert equal(made.kept[0], first_adapter(base, SMALL, task_of(1)))
    assert equal(made.kept[2], train_one(base, task_of(1), SMALL, config(steps=2)).adapter)


def test_a_frozen_text_encoder_is_read_once(base, monkeypatch):
    import sfumato.adapters.train_one as module

    calls = []
    monkeypatch.setattr(module, "contexts_of", lambda *args: calls.append(1) or contexts_of(*args))
    train_one(base, task_of(1), LoraSettings(rank=2, text_targets=()), config(steps=3))
    assert len(calls) == 1
    train_one(base, task_of(1), SMALL, config(steps=3))
    assert len(calls) == 4


def test_a_base_that_predicts_v(tmp_path):
    from tests_support import write_pipeline

    other = load_base(str(write_pipeline(tmp_path / "v", family="sd21")))
    assert other.prediction_type == "v_prediction"
    made = train_one(other, task_of(1), SMALL, config(steps=2))
    assert all(loss > 0 for loss in made.losses)


def test_pictures_on_the_way_are_drawn_with_the_adapter_on(base):
    seen = []
    plain = output(base)
    train_one(base, task_of(1), SMALL, config(validate_every=3), validate=lambda step: seen.append((step, output(base))))
    assert [step for step, _ in seen] == [3, 6]
    assert not torch.equal(seen[0][1], plain) and not torch.equal(seen[1][1], seen[0][1])


def test_progress_is_told(base):
    told = []
    made = train_one(base, task_of(1), SMALL, config(steps=3), on_step=told.append)
    assert [(p.step, p.steps) for p in told] == [(1, 3), (2, 3), (3, 3)] and [p.loss for p in told] == made.losses


# ---------------------------------------------------------------- going on


class Killed(Exception):
    """Stands for a kill."""


def killed_at(step):
    def stop(progress):
        if progress.step == step:
            raise Killed

    return stop


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_killed_run_ends_in_the_same_bits(base, tmp_path, step):
    whole = train_one(base, task_of(1), SMALL, config(), keep=(1, 4))
    path = tmp_path / "c.safetensors"
    with pytest.raises(Killed):
        train_one(base, task_of(1), SMALL, config(), keep=(1, 4), checkpoint=path, on_step=killed_at(step))
    assert path.exists() == (step > 2) and seed_of(path) == (1 if step > 2 else None)
    told = []
    again = train_one(base, task_of(1), SMALL, config(), keep=(1, 4), checkpoint=path, on_step=told.append)
    assert told[0].step == {1: 1, 3: 3, 5: 5}[step]
    assert equal(whole.adapter, again.adapter) and all(equal(whole.kept[k], again.kept[k]) for k in (1, 4))
    assert path.exists()  # for whoever asked for it to remove, once the adapter is written


def test_a_checkpoint_is_for_its_owner_alone(base, tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(Killed):
        train_one(base, task_of(1), SMALL, config(), checkpoint=path, on_step=killed_at(3))
    assert path.stat().st_mode & 0o077 == 0


def test_a_checkpoint_of_another_run_is_refused(base, tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(Killed):
        train_one(base, task_of(1), SMALL, config(), checkpoint=path, on_step=killed_at(3))
    for task, settings, how in (
        (task_of(2), SMALL, config()),
        (task_of(1), LoraSettings(rank=3), config()),
        (task_of(1), SMALL, config(lr=1e-3)),
    ):
        with pytest.raises(UserError, match="another run"):
            train_one(base, task, settings, how, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="not a readable safetensors"):
        train_one(base, task_of(1), SMALL, config(), checkpoint=path)


def test_what_is_only_saved_or_shown_is_no_part_of_a_run(base):
    one, two = (run_of(base, task_of(1), SMALL, config(checkpoint_every=n, validate_every=n), keep=(1,)) for n in (2, 3))
    assert one == two != run_of(base, task_of(1), SMALL, config(), keep=(2,))


# ---------------------------------------------------------------- what makes no sense


def test_a_loss_that_is_no_number_stops(base):
    task = task_of(1)
    task.latents[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="at step 0"):
        train_one(base, task, SMALL, config(batch=6))
    assert not hasattr(base.unet, "peft_config")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"prior_batch": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"clip": 0.0},
        {"prior_weight": -1.0},
        {"precision": "fp8"},
    ],
)
def test_configurations_that_make_no_sense(wrong):
    with pytest.raises(UserError):
        FinetuneConfig(**wrong)


def test_tasks_that_make_no_sense(base):
    z = torch.zeros((2, 4, 8, 8))
    for wrong in ({"latents": z[:0], "prompts": ()}, {"latents": z[0], "prompts": ("a",)}, {"latents": z, "prompts": ("a",)}):
        with pytest.raises(UserError):
            Task(seed=0, **wrong)
    with pytest.raises(UserError, match="class latents"):
        Task(latents=z, prompts=("a", "a"), seed=0, class_latents=torch.zeros((1, 4, 4, 4)))
    with pytest.raises(UserError, match="steps to keep"):
        train_one(base, task_of(1), SMALL, config(), keep=(7,))
    assert FIRST_WEIGHTS > 10**9  # never a step's number
