"""Simulated fine-tuning is fine-tuning; the truth fits; what is guessed fits better and better."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from adapters_support import adapter_of, output
from sfumato.adapters.dreambooth import FinetuneConfig, Task, draw
from sfumato.adapters.lora import Adapter, LoraSettings, attached
from sfumato.adapters.train_one import first_adapter, train_one
from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights import gradient_matching
from sfumato.attacker.weights.base import Guess, Published, Recipe
from sfumato.attacker.weights.gradient_matching import Simulation, misfit, unet_part
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base

SETTINGS = LoraSettings(rank=2, text_targets=())
CONFIG = FinetuneConfig(steps=1, batch=3, lr=1e-3, checkpoint_every=0)
TASK = Task(latents=torch.randn((3, 4, 8, 8), generator=generator(1)), prompts=("a sks peep",) * 3, seed=4)


@pytest.fixture(scope="module")
def started(base):
    """The adapter before any step, and after one."""
    return first_adapter(base, SETTINGS, TASK), train_one(base, TASK, SETTINGS, CONFIG).adapter


def simulated(base, start, draws, *, z_0=None, length=1.0):
    with attached(base, start, trainable=True) as layers, sdpa_kernel(SDPBackend.MATH):
        simulation = Simulation(base, layers, rows=3)
        return simulation.trained(z_0, base.embed(["a sks peep"]), draws, length=length)


def truth(base):
    """What the first step of training drew: its pictures in the order of the batch, and the noise."""
    drawn = draw(base, [TASK], CONFIG, 0)
    return drawn.z_0, [(drawn.t, drawn.eps)]


def test_a_simulated_step_turns_b_where_training_turns_it(base, started):
    start, trained = started
    z_0, draws = truth(base)
    made = simulated(base, start, draws, z_0=z_0)
    for name, (_, b) in trained.factors.items():  # the first step of AdamW is the gradient's sign
        sure = made[name].abs() > 1e-3 * made[name].abs().max()
        assert sure.any() and torch.equal(made[name][sure].sign(), b[sure].sign()), name


@pytest.mark.parametrize("steps", [1, 3])
def test_the_update_is_as_long_as_it_should_be(base, started, steps):
    z_0, draws = truth(base)
    made = simulated(base, started[0], draws * steps, z_0=z_0, length=0.5)
    total = float(torch.stack([b.detach().norm() for b in made.values()]).norm())
    assert total == pytest.approx(0.5, rel=1e-3) if steps == 1 else 0.3 < total <= 0.5001


def test_the_truth_fits_and_others_do_not(base, started):
    z_0, draws = truth(base)
    wanted = {name: b.detach() for name, b in simulated(base, started[0], draws, z_0=z_0).items()}
    other = torch.randn(z_0.shape, generator=generator(9))
    fits = float(misfit(simulated(base, started[0], draws, z_0=z_0, length=3.0), wanted).detach())  # length does not matter
    misses = float(misfit(simulated(base, started[0], draws, z_0=other), wanted).detach())
    assert fits < 1e-5 and misses > 0.05
    assert float(misfit({name: -b for name, b in wanted.items()}, wanted)) == pytest.approx(2.0, abs=1e-5)


def test_latents_and_context_get_a_slope(base, started):
    z_0, draws = truth(base)
    wanted = {name: b.detach() for name, b in simulated(base, started[0], draws, z_0=z_0).items()}
    guess = torch.randn(z_0.shape, generator=generator(9)).requires_grad_()
    with attached(base, started[0], trainable=True) as layers, sdpa_kernel(SDPBackend.MATH):
        context = base.embed(["a"]).requires_grad_()
        missed = misfit(Simulation(base, layers, rows=3).trained(guess, context, draws, length=1.0), wanted)
        slopes = torch.autograd.grad(missed, [guess, context])
    assert all(bool(slope.isfinite().all()) and bool(slope.any()) for slope in slopes)


def test_where_the_noise_is_known_the_misfit_can_be_descended(base, started):
    z_0, draws = truth(base)
    draws = [(torch.tensor([50, 50, 50]), draws[0][1])]
    wanted = {name: b.detach() for name, b in simulated(base, started[0], draws, z_0=z_0).items()}
    guess = (z_0 + 0.3 * torch.randn(z_0.shape, generator=generator(9))).requires_grad_()
    optimiser = torch.optim.Adam([guess], lr=3e-2)
    misses = []
    with attached(base, started[0], trainable=True) as layers, sdpa_kernel(SDPBackend.MATH):
        simulation = Simulation(base, layers, rows=3)
        context = base.embed(["a sks peep"])
        for _ in range(30):
            missed = misfit(simulation.trained(guess, context, draws, length=1.0), wanted)
            (guess.grad,) = torch.autograd.grad(missed, [guess])
            optimiser.step()
            misses.append(float(missed.detach()))
    assert misses[-1] < 0.3 * misses[0]


def test_it_guesses_pictures_and_its_misfit_falls(base, monkeypatch):
    monkeypatch.setattr(gradient_matching, "ITERATIONS", {"quick": 40})
    adapter = train_one(base, TASK, LoraSettings(rank=2), FinetuneConfig(steps=10, batch=3, lr=1e-3, checkpoint_every=0)).adapter
    scenario = Scenario(base, Published(adapter), Recipe(LoraSettings(rank=2), CONFIG, "a peep"))
    before, rng = output(base), torch.get_rng_state()
    told = []
    guess = weights.attempt("gradient_matching", scenario, seed=1, tell=lambda *done: told.append(done))
    assert isinstance(guess, Guess), guess
    assert guess.images.shape == (4, 32, 32, 3) and guess.images.dtype == np.uint8 and told[-1] == (40, 40)
    misfits = [value for _, value in guess.curve]
    assert np.mean(misfits[-5:]) < np.mean(misfits[:3])
    assert torch.equal(output(base), before) and torch.equal(rng, torch.get_rng_state())
    assert not any(p.requires_grad for p in base.unet.parameters())


def test_two_simulated_steps_run(base, monkeypatch):
    monkeypatch.setattr(gradient_matching, "ITERATIONS", {"quick": 2})
    monkeypatch.setattr(gradient_matching, "UNROLLED", {"quick": 2})
    scenario = Scenario(base, Published(adapter_of(base)), Recipe(SETTINGS, CONFIG, "a peep"))
    one, two = (weights.attempt("gradient_matching", scenario, seed=3) for _ in range(2))
    assert isinstance(one, Guess) and np.array_equal(one.images, two.images)


def test_only_the_unets_trained_layers_count(base):
    adapter = adapter_of(base)
    assert {name.partition(".")[0] for name in adapter.factors} == {"unet", "text_encoder"}
    assert {name.partition(".")[0] for name in unet_part(adapter).factors} == {"unet"}
    text = {name: pair for name, pair in adapter.factors.items() if not name.startswith("unet")}
    failed = weights.attempt(
        "gradient_matching", Scenario(base, Published(Adapter(factors=text, alphas=adapter.alphas)), Recipe(SETTINGS, CONFIG, "a"))
    )
    assert isinstance(failed, Failed) and "no layer of the UNet" in failed.cause
    untrained = first_adapter(base, SETTINGS, TASK)
    assert isinstance(weights.attempt("gradient_matching", Scenario(base, Published(untrained), Recipe(SETTINGS, CONFIG, "a"))), Failed)


def test_without_a_recipe_there_is_no_channel(base):
    assert weights.attempt("gradient_matching", Scenario(Published(adapter_of(base)))) == NoChannel((Recipe, Base))
