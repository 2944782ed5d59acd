"""What an attacker is offered, by type, and what comes of an attempt."""

import numpy as np
import pytest
import torch

from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import (
    Conditions,
    Files,
    Latents,
    Scenario,
)
from sfumato.attacker.records.base import Guess, attempt


def latents(count=5, releases=2):
    return Latents(torch.zeros(releases, count, 4, 2, 2), torch.full((releases, count), 300))


def test_without_what_it_needs_an_attack_is_not_run(stub):
    stub(lambda *a, **k: pytest.fail("it ran"), needs=(Latents, Conditions, Files))
    answer = attempt("stub", Scenario(latents()))
    assert answer == NoChannel((Conditions, Files))
    assert str(answer) == "no Conditions, no Files"


def test_an_attempt_takes_the_time_and_passes_its_arguments_on(stub):
    seen, told = {}, []

    def run(scenario, *, effort, seed, tell):
        seen.update(effort=effort, seed=seed)
        tell(1, 2)
        return Guess(prompts=["a"])

    stub(run, needs=(Latents,))
    guess = attempt("stub", Scenario(latents()), effort="full", seed=7, tell=lambda *a: told.append(a))
    assert isinstance(guess, Guess) and guess.seconds > 0
    assert seen == {"effort": "full", "seed": 7} and told == [(1, 2)]


@pytest.mark.parametrize("error", [RuntimeError("singular"), ZeroDivisionError("zero"), ValueError("odd"), FloatingPointError("x")])
def test_an_attack_that_raises_has_failed_and_says_why(stub, error):
    def run(scenario, *, effort, seed, tell):
        raise error

    stub(run, needs=(Latents,))
    answer = attempt("stub", Scenario(latents()))
    assert isinstance(answer, Failed) and answer.cause == f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("field", ["z_0", "c", "embeddings", "scores"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_guess_that_is_not_finite_has_failed_and_is_never_safe(stub, field, value):
    broken = torch.zeros(2, 3)
    broken[1, 1] = value
    stub(lambda scenario, **k: Guess(**{field: broken.numpy() if field == "embeddings" else broken}), needs=(Latents,))
    answer = attempt("stub", Scenario(latents()))
    assert isinstance(answer, Failed) and f"its {field} holds NaN" in answer.cause


def test_a_programmer_s_mistake_is_not_taken_for_a_failed_attack(stub):
    def run(scenario, *, effort, seed, tell):
        raise NameError("typo")

    stub(run, needs=(Latents,))
    with pytest.raises(NameError):
        attempt("stub", Scenario(latents()))


def test_an_unknown_attack_is_answered_with_the_known():
    with pytest.raises(ValueError, match="unknown name 'crystal_ball' in attacker.records; known: .*rmle"):
        attempt("crystal_ball", Scenario())


def test_a_guess_is_cut_to_some_records():
    guess = Guess(z_0=torch.arange(3.0), prompts=["a", "b", "c"], images=np.arange(3), budget={"steps": 1})
    cut = guess.take([2, 0])
    assert cut.z_0.tolist() == [2, 0] and cut.prompts == ["c", "a"] and cut.images.tolist() == [2, 0] and cut.c is None
    assert len(guess) == 3 and len(cut) == 2 and len(Guess()) == 0 and cut.budget == {"steps": 1}
