"""Candidates in an order that says nothing, and guesses back in the order of the truth.

A study holds candidates in the order of the records that they are: an attack that answers "candidate i for record i" would always be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from sfumato.attacker.knowledge import Candidates, Copies, Scenario
from sfumato.attacker.records.base import Guess
from sfumato.core.randomness import generator

STREAM = 7919  # of the judge's draws: attackers draw from the same seed


def order(count: int, seed: int) -> torch.Tensor:
    """Which of ``count`` candidates is handed over at each place: int64 ``(count,)``."""
    return torch.randperm(count, generator=generator(seed, STREAM, count))


def shuffled(scenario: Scenario, seed: int) -> Scenario:
    """The same scenario with its candidates, if it has any, and what is like them in another order."""
    held = scenario.get(Candidates)
    if held is None:
        return scenario
    places = order(len(held.z_0), seed)
    like = {name: partial(_shuffled, make, seed) for name, make in held.like.items()}
    return scenario.having(replace(held, z_0=held.z_0[places], c=held.c[places], like=like))


def _shuffled(make: Callable[[], Copies], seed: int) -> Copies:
    made = make()
    places = order(len(made.z_0), seed)
    return replace(made, images=made.images[places.numpy()], z_0=made.z_0[places], c=made.c[places])


def restored(guess: Guess, seed: int) -> Guess:
    """The guess with its scores ``(N, M)`` in the order that candidates had before ``shuffled``."""
    if guess.scores is None:
        return guess
    scores = torch.empty_like(guess.scores)
    scores[:, order(guess.scores.shape[1], seed)] = guess.scores
    return replace(guess, scores=scores)
