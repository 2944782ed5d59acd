"""Merges give their base back, exactly."""

import pytest
import torch

from sfumato.attacker.attempt import Failed
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights.base import Guess, Merged
from sfumato.attacker.weights.spectral_detuning import detuned
from sfumato.core.randomness import generator


def merges(k, out, into, rank, *, decay=1.0, seed=0):
    """``W_0`` and ``(K, out, in)``: what differs is a fifth of it or more."""
    draws = generator(seed)
    w_0 = torch.randn((out, into), generator=draws, dtype=torch.float64)
    up, down = (torch.randn((k, rows, rank), generator=draws, dtype=torch.float64) for rows in (out, into))
    return w_0, w_0 + 0.3 * (up * decay ** torch.arange(rank)) @ down.mT


@pytest.mark.parametrize(("k", "out", "into", "rank"), [(3, 24, 20, 2), (4, 20, 32, 3), (5, 48, 48, 4), (8, 40, 16, 2)])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_the_base_is_recovered_exactly(k, out, into, rank, decay):
    w_0, merged = merges(k, out, into, rank, decay=decay)
    found, curve = detuned(merged, rank, 1000, generator=generator(1))
    assert torch.linalg.vector_norm(merged.mean(0) - w_0) > 0.05 * torch.linalg.vector_norm(w_0)
    assert torch.allclose(found, w_0, atol=1e-8) and curve[-1][1] < 1e-9


def test_the_misfit_falls_once_the_rank_is_full():
    _, merged = merges(5, 32, 32, 4)
    _, curve = detuned(merged, 4, 300, generator=generator(0))
    late = [misfit for at, misfit in curve if at > 150]
    assert late == sorted(late, reverse=True) and late[-1] < 1e-6


def test_too_small_a_rank_does_not_fit():
    w_0, merged = merges(5, 32, 32, 4)
    found, curve = detuned(merged, 2, 300, generator=generator(0))
    assert curve[-1][1] > 1e-2 and not torch.allclose(found, w_0, atol=1e-3)


def test_merges_that_do_not_differ_are_the_base():
    w_0, _ = merges(3, 8, 8, 1)
    found, _ = detuned(w_0.expand(3, -1, -1), 2, 10, generator=generator(0))
    assert torch.allclose(found, w_0, atol=1e-10)


def test_layers_keep_shape_and_type_and_the_merges_are_left_alone():
    w_0, merged = merges(5, 12, 27, 2)
    given = {"conv": merged.float().view(5, 12, 3, 3, 3), "linear": merged.float()}
    before = {name: value.clone() for name, value in given.items()}
    guess = weights.attempt("spectral_detuning", Scenario(Merged(given, 2)))
    assert isinstance(guess, Guess), guess
    assert guess.weights["conv"].shape == (12, 3, 3, 3) and guess.weights["linear"].dtype == torch.float32
    for value in guess.weights.values():
        assert torch.allclose(value.flatten(1), w_0.float(), atol=1e-5)
    assert all(torch.equal(before[name], given[name]) for name in given)
    assert guess.budget["merges"] == 5 and guess.curve[-1][1] == guess.budget["misfit"] < 1e-5


@pytest.mark.parametrize(
    ("merged", "why"),
    [
        (Merged({"a": torch.zeros(2, 4, 4)}, 1), "K at least 3"),
        (Merged({"a": torch.zeros(4, 4)}, 1), "K at least 3"),
        (Merged({"a": torch.zeros(5, 4, 4)}, 0), "rank from 1 up"),
        (Merged({}, 2), "one layer at least"),
    ],
)
def test_what_cannot_be_taken_apart_is_named(merged, why):
    failed = weights.attempt("spectral_detuning", Scenario(merged))
    assert isinstance(failed, Failed) and why in failed.cause


def test_values_that_are_no_numbers_are_no_answer():
    merged = torch.full((3, 4, 4), float("nan"))
    assert isinstance(weights.attempt("spectral_detuning", Scenario(Merged({"a": merged}, 1))), Failed)
