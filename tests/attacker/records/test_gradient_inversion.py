"""A batch out of its gradients."""

from dataclasses import replace

import pytest
import torch

from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Scenario, Update
from sfumato.attacker.records import gradient_inversion
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.studies.records import scenarios
from tests_support import acting_controlnet

SHAPE = (1, 4, 3, 3)


class Toy:
    """A net of two layers that guesses the noise from ``z_t`` and ``c``."""

    def __init__(self, width=48):
        size = 36
        shapes = {"z": (width, size), "c": (width, size), "out": (size, width)}
        self.weights = {
            name: (torch.randn(shape, generator=generator(3, i)) * shape[1] ** -0.5).requires_grad_(True)
            for i, (name, shape) in enumerate(shapes.items())
        }
        self.z_0, self.c, self.eps = (torch.randn(SHAPE, generator=generator(4, k)) for k in range(3))
        self.t = torch.tensor([500])

    def grad_of(self, z_0, c, t, eps):
        z_t = 0.8 * z_0 + 0.6 * eps
        hidden = (z_t.flatten(1) @ self.weights["z"].T + c.flatten(1) @ self.weights["c"].T).tanh()
        loss = (hidden @ self.weights["out"].T - eps.flatten(1)).square().mean()
        return dict(zip(self.weights, torch.autograd.grad(loss, list(self.weights.values()), create_graph=True), strict=True))

    def update(self, *, eps=True, gradients=None):
        gradients = gradients or {k: g.detach() for k, g in self.grad_of(self.z_0, self.c, self.t, self.eps).items()}
        return Update(gradients, SHAPE, self.grad_of, self.t, self.eps if eps else None)


def missed(guess, truth):
    return float((guess - truth).square().mean() / truth.square().mean())


def test_gradients_give_the_batch():
    toy, told = Toy(), []
    update = toy.update()
    kept = {k: g.clone() for k, g in update.gradients.items()}
    guess = attempt("gradient_inversion", Scenario(update), tell=lambda *a: told.append(a))
    assert isinstance(guess, Guess) and missed(guess.z_0, toy.z_0) < 0.05 and missed(guess.c, toy.c) < 0.05
    assert missed(guess.z_0, torch.randn(SHAPE, generator=generator(9))) > 0.5
    assert all(torch.equal(update.gradients[k], kept[k]) for k in kept)
    assert told[-1] == (600, 600) and guess.curve[-1][1] < 0.1 * guess.curve[0][1]


def test_of_two_methods_the_one_with_the_nearer_gradients_is_kept_and_both_are_noted():
    guess = attempt("gradient_inversion", Scenario(Toy().update()))
    angles = guess.budget["1 - cosine"]
    assert set(angles) == {"DLG", "Inverting Gradients"}
    assert angles[guess.budget["kept"]] == min(angles.values()) < 0.01


def test_either_method_alone_gets_nearer():
    toy = Toy()
    problem = gradient_inversion._Problem(toy.update())
    for method, steps in ((gradient_inversion._dlg, 10), (gradient_inversion._inverting, 150)):
        start = problem.start(generator(1))
        before = float(problem.angle(problem.gradients(start)).detach())
        found, curve = method(problem, start, steps, lambda k: None)
        assert float(problem.angle(problem.gradients(found)).detach()) < 0.2 * before and curve
        assert missed(found[0].detach(), toy.z_0) < 0.6


def test_noise_that_is_not_granted_is_guessed_too():
    toy = Toy()
    guess = attempt("gradient_inversion", Scenario(toy.update(eps=False)))
    assert guess.budget["noise known"] is False
    assert missed(guess.c, toy.c) < 0.3


def test_gradients_of_pure_noise_give_chance():
    toy = Toy()
    noise = {k: torch.randn(w.shape, generator=generator(5)) for k, w in toy.weights.items()}
    guess = attempt("gradient_inversion", Scenario(toy.update(gradients=noise)))
    similar = torch.nn.functional.cosine_similarity(guess.z_0.flatten(), toy.z_0.flatten(), dim=0)
    assert abs(float(similar)) < 0.45  # three standard deviations of 36 numbers


def test_a_controlnet_s_gradients_can_be_inverted(base, monkeypatch):
    """The real networks have second derivatives where the attack needs them."""
    monkeypatch.setattr(gradient_inversion, "ITERATIONS", {"quick": 10, "full": 10})
    model, context = acting_controlnet(base), base.empty_context
    names, parameters = zip(*model.named_parameters(), strict=True)

    def grad_of(z_0, c, t, eps):
        z_t = 0.8 * z_0 + 0.6 * eps
        eps_hat = nets.controlled_eps(base, model, z_t, t, context=context, hint=c, seen=torch.zeros_like(context))
        loss = (eps_hat - eps).square().mean()
        found = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        return dict(zip(names, found, strict=True))

    z_0, c, eps = (torch.randn(1, 4, 8, 8, generator=generator(6, k)) for k in range(3))
    gradients = {k: g.detach() for k, g in grad_of(z_0, c, torch.tensor([300]), eps).items()}
    guess = attempt("gradient_inversion", Scenario(Update(gradients, (1, 4, 8, 8), grad_of, torch.tensor([300]), eps)))
    assert isinstance(guess, Guess) and guess.z_0.shape == z_0.shape
    assert all(p.grad is None for p in parameters)


def test_one_small_picture_s_gradients_give_it_away(tiny, people, monkeypatch):
    """The real networks in a weak setting: one picture, little noise, known; better than the mean picture, and on noise no better."""
    public, _, z_0, c = people
    small = (slice(None), slice(None), slice(4, 12), slice(4, 12))
    public = replace(public, z_0=public.z_0[small], c=public.c[small])
    z_0, c = z_0[3:4][small], c[3:4][small]
    update = scenarios.update_of(tiny, z_0, c, torch.tensor([20]), torch.randn(z_0.shape, generator=generator(8)))
    noise = {k: g.std() * torch.randn(g.shape, generator=generator(9, i)) for i, (k, g) in enumerate(update.gradients.items())}

    inverting = gradient_inversion._inverting
    monkeypatch.setattr(
        gradient_inversion, "_inverting", lambda problem, unknown, steps, tell: inverting(problem, unknown, 5, tell)
    )  # the slower way here

    def missing(update, iterations):
        monkeypatch.setitem(gradient_inversion.ITERATIONS, "quick", iterations)
        guess = attempt("gradient_inversion", Scenario(update, public))
        pairs = ((guess.z_0, z_0, public.z_0), (guess.c, c, public.c))
        return [missed(guessed - known.mean(0), truth - known.mean(0)) for guessed, truth, known in pairs]

    assert max(missing(update, 100)) < 0.9
    assert min(missing(replace(update, gradients=noise), 10)) > 0.95


def test_an_empty_update_has_failed_and_is_not_safe():
    toy = Toy()
    answer = attempt("gradient_inversion", Scenario(toy.update(gradients={k: torch.zeros_like(w) for k, w in toy.weights.items()})))
    assert isinstance(answer, Failed) and "no gradient to invert" in answer.cause


@pytest.mark.parametrize("what", [(), (1,)])
def test_without_an_update_there_is_no_channel(what):
    assert attempt("gradient_inversion", Scenario(*what)) == NoChannel((Update,))
