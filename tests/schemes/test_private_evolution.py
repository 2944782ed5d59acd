"""Votes as a scheme: what leaves is the ballots, what they guarantee is said, and without them nothing private is."""

from __future__ import annotations

import json
import math
from itertools import count

import numpy as np
import pytest

import vote_support
from sfumato.accounting import accountant, gaussian, votes
from sfumato.core.errors import UserError
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.records import ballot as ballots
from sfumato.records.ballot import RELATION
from sfumato.schemes import private_evolution
from sfumato.schemes._wire import Job, Local
from sfumato.server import pool as pools
from sfumato.server.fit import TrainConfig

TINY = {"count": 16, "clusters": 3, "network": "pixels", "steps": 1}
LOUD = {**TINY, "epsilon": 100.0, "rounds": 2}  # votes of eight stand out of so little noise


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two owners: of eight people on nine pictures, and of eight others."""
    place = tmp_path_factory.mktemp("voters")
    people = [f"p{i}" for i in range(8)]
    return {
        "alice": vote_support.write_folder(place / "alice", [0] * 9, people=[*people, "p0"]),
        "bob": vote_support.write_folder(place / "bob", [0] * 8, people=people, seed=1),
    }


@pytest.fixture
def job(base, folders, tmp_path):
    numbers = count()

    def make(*, connect=Local, owners=folders, seed=0, **options):
        config = TrainConfig(steps=1, batch=4, warmup=1, held_out=0, seed=seed)
        out = tmp_path / f"net-{next(numbers)}"
        return Job(folders=owners, base=base, out=out, config=config, connect=connect, options=options)

    return make


@pytest.fixture
def trained(monkeypatch):
    """Train nothing; gives what would have been trained on, and what was said of it."""
    given = []
    monkeypatch.setattr(private_evolution, "train", lambda pairs, *rest, voted, **how: given.append((pairs, voted)))
    return given


def _work(job):
    return job.out.parent / f"{job.out.name}-pool"


def _cast(job):
    return [ballots.read(path) for path in sorted(_work(job).glob("*.ballot"))]


def test_every_owner_casts_one_ballot_a_round_and_the_plan_is_what_is_stated(job, base):
    work = job(**LOUD)
    outcome = private_evolution.run(work)
    cast = _cast(work)
    assert [(one.owner, one.rounds, one.secure) for one in cast] == [("alice", 2, True)] * 2 + [("bob", 2, True)] * 2
    assert len({one.menu for one in cast}) == 2  # one for each round
    said = outcome.stated
    assert said["guarantee"] == "gaussian-dp" and (said["unit"], said["relation"], said["releases"]) == ("person", RELATION, 2)
    sigma = votes.sigma(100.0, accountant.DELTA, 2)
    assert said["mu"] == pytest.approx(math.sqrt(2) / sigma) and said["delta"] == accountant.DELTA
    assert said["epsilon"] == pytest.approx(100.0, rel=1e-6)
    assert outcome.notes == [] and outcome.ledger == () and not outcome.online
    settings = load_latent_controlnet(outcome.controlnet)[1]
    assert settings["scheme"] == "private_evolution" and settings["privacy"] == said and settings["owners"] == 2
    pool = pools.read(_work(work) / "pool", base)
    shown = sum((pool.place(number) / pools.MENU).stat().st_size for number in (1, 2))
    for owner, traffic in outcome.traffic.items():
        sizes = [path.stat().st_size for path in _work(work).glob(f"{owner}-*.ballot")]
        assert traffic.bytes_up == sum(sizes) and traffic.messages_up == len(sizes) == 2
        assert traffic.bytes_down > shown
    assert outcome.owners["alice"]["pictures"] == 9 and outcome.owners["bob"]["pictures"] == 8
    assert pool.round == 3


def test_without_persons_the_guarantee_is_of_a_picture(job, trained, tmp_path):
    place = tmp_path / "nobody"
    place.mkdir()
    nameless = {"alice": vote_support.write_folder(place / "alice", [0] * 8)}
    outcome = private_evolution.run(job(owners=nameless, **LOUD))
    assert outcome.stated["unit"] == "picture" and outcome.stated["releases"] == 2


def test_what_is_trained_on_is_the_last_pool_with_conditions_of_its_own(job, trained, base):
    work = job(**LOUD)
    private_evolution.run(work)
    ((pairs, voted),) = trained
    pool = pools.read(_work(work) / "pool", base)
    assert np.array_equal(pairs.z_n, pool.pictures(3)[0]) and bool((pairs.n == -1).all()) and pool.id in pairs.digest()
    assert set(voted.owners) == {"alice", "bob"} and voted.privacy["guarantee"] == "gaussian-dp"


def test_where_the_noise_would_hide_everything_nobody_votes_and_nothing_is_spent(job, trained, base):
    work = job(**{**LOUD, "epsilon": 0.01})
    outcome = private_evolution.run(work)
    assert _cast(work) == [] and outcome.stated is None
    (note,) = outcome.notes
    assert "rounds ended after 0" in note and "no cluster could stand out" in note
    assert all(traffic.bytes_up == traffic.messages_up == 0 for traffic in outcome.traffic.values())
    ((pairs, voted),) = trained
    assert voted.privacy["guarantee"] == "not needed" and np.array_equal(pairs.z_n, pools.read(_work(work) / "pool", base).pictures(1)[0])


def test_votes_that_were_cast_but_did_not_count_are_stated_all_the_same(job, trained):
    work = job(**LOUD, threshold=1e9)
    outcome = private_evolution.run(work)
    assert len(_cast(work)) == 2 and len(outcome.notes) == 1 and "rounds ended after 0" in outcome.notes[0]
    said = outcome.stated
    one = 1 / votes.sigma(100.0, accountant.DELTA, 2)
    assert said["mu"] == pytest.approx(one) and said["releases"] == 1
    assert said["epsilon"] == pytest.approx(gaussian.epsilon(accountant.DELTA, one)) and said["epsilon"] < 100
    assert trained[0][1].privacy == said


def _nobody(*given):
    pytest.fail("an owner was asked")


@pytest.mark.parametrize("none", ["none", None])
def test_without_votes_nobody_is_asked_and_nothing_private_is_stated(job, trained, base, none):
    """``None`` is how an arm's name spells it: ``private_evolution:votes=none``."""
    work = job(**LOUD, votes=none, connect=_nobody)
    outcome = private_evolution.run(work)
    assert outcome.stated is None and outcome.traffic == {} and outcome.owners == {} and _cast(work) == []
    assert any("nobody voted" in note for note in outcome.notes)
    ((pairs, voted),) = trained
    assert voted.privacy == {"guarantee": "not needed", "why": "nothing private left"} and voted.owners == {}
    assert pools.read(_work(work) / "pool", base).round == 3 and len(pairs) == 16


def test_a_run_that_was_killed_goes_on_with_the_ballots_that_there_are(job, trained, monkeypatch):
    whole = job(**LOUD, insecure_seed=3)
    private_evolution.run(whole)
    killed, real = job(**LOUD, insecure_seed=3), private_evolution.evolve.next_round
    calls = []

    def kill(*given, **how):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **how)

    monkeypatch.setattr(private_evolution.evolve, "next_round", kill)
    with pytest.raises(KeyboardInterrupt):
        private_evolution.run(killed)
    before = {path.name: path.read_bytes() for path in _work(killed).glob("*.ballot")}
    outcome = private_evolution.run(killed)
    after = {path.name: path.read_bytes() for path in _work(killed).glob("*.ballot")}
    assert len(before) == len(after) == 4 and before == after and outcome.notes == []
    assert np.array_equal(trained[0][0].z_n, trained[1][0].z_n)


def test_noise_from_a_seed_guarantees_nothing(job, trained):
    outcome = private_evolution.run(job(**LOUD, insecure_seed=0))
    assert outcome.stated["guarantee"] == "none" and "epsilon" not in json.dumps(outcome.stated)


def test_what_is_trained_on_can_be_varied(job, trained):
    for vary in (None, "hue"):
        private_evolution.run(job(**LOUD, votes="none", vary=vary))
    (plain, _), (varied, _) = trained
    assert len(plain) == len(varied) and not np.array_equal(plain.z_n, varied.z_n) and plain.digest() != varied.digest()


@pytest.mark.parametrize(
    ("wrong", "word"), [({"epsilonn": 8}, "epsilonn"), ({"votes": "some"}, "votes 'some'"), ({"vary": "twirl"}, "twirl")]
)
def test_what_it_does_not_know_is_refused_before_anybody_votes(job, trained, wrong, word):
    work = job(**{**LOUD, **wrong}, connect=_nobody)
    with pytest.raises(UserError, match=word):
        private_evolution.run(work)
    assert not _work(work).exists() and trained == []
