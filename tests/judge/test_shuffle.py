"""Where a candidate stands says nothing about whose record it is, and nobody but the judge's side needs to know."""

import pytest
import torch

from sfumato.attacker import attempt as attempts
from sfumato.attacker.knowledge import Candidates, Copies, Latents, Scenario
from sfumato.attacker.records.base import Guess
from sfumato.core.randomness import generator
from sfumato.judge import shuffle
from sfumato.studies.records import cell

N = 200


@pytest.fixture
def given():
    z_0 = torch.randn(N, 4, 2, 2, generator=generator(1))
    copies = Copies(torch.arange(50).view(50, 1, 1, 1).numpy(), z_0[:50], -z_0[:50], lambda images: (z_0, -z_0))
    return Scenario(Latents(z_0[None].clone(), torch.full((1, N), -1)), Candidates(z_0, -z_0, {"jpeg": lambda: copies}))


@pytest.fixture
def hits(monkeypatch, given, tmp_path):
    """How often an attack names the right candidate, as a study runs it."""

    def share(run, effort="quick"):
        module = type("Stub", (), {"NEEDS": (Latents, Candidates), "COUNT": {"quick": N, "full": N}, "run": staticmethod(run)})
        monkeypatch.setattr(attempts.registry, "get", lambda package, name: module)
        answer, _ = cell.attack(given, "stub", None, tmp_path, condition="canny", effort=effort, seed=3, tell=print)
        return float((answer.scores.argmax(1) == torch.arange(len(answer.scores))).float().mean())

    return share


def nearest(z, candidates):
    return -torch.cdist(z[0, : len(candidates)].flatten(1), candidates.flatten(1))


def test_who_names_candidate_i_for_record_i_gets_chance(hits):
    assert hits(lambda given, **how: Guess(scores=torch.eye(N))) <= 5 / N
    assert hits(lambda given, **how: Guess(scores=torch.eye(N)[:50, :50])) <= 5 / 50


def test_who_looks_is_right(hits):
    assert hits(lambda given, **how: Guess(scores=nearest(given[Latents].z, given[Candidates].z_0))) == 1
    assert hits(lambda given, **how: Guess(scores=nearest(given[Latents].z, given[Candidates].like["jpeg"]().z_0))) == 1


def test_all_that_belongs_to_a_candidate_moves_with_it(given):
    moved = shuffle.shuffled(given, 5)[Candidates]
    assert torch.equal(moved.c, -moved.z_0) and not torch.equal(moved.z_0, given[Candidates].z_0)
    copies = moved.like["jpeg"]()
    assert torch.equal(copies.z_0, given[Candidates].z_0[torch.from_numpy(copies.images.ravel())])
    assert torch.equal(shuffle.shuffled(given, 5)[Candidates].z_0, moved.z_0)  # the same seed, the same order
    assert not torch.equal(shuffle.shuffled(given, 6)[Candidates].z_0, moved.z_0)


def test_without_candidates_nothing_is_moved(given):
    bare = Scenario(given[Latents])
    assert shuffle.shuffled(bare, 1) is bare
    guess = Guess(z_0=given[Latents].z[0])
    assert shuffle.restored(guess, 1) is guess
