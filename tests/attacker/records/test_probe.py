"""The probe: it sees pictures, and conditions where they leaked, and learns from public people alone."""

import pytest
import torch

from sfumato.attacker.records import _identity, _probe
from sfumato.attacker.records._evidence import see
from sfumato.core.randomness import generator
from sfumato.features import identity
from tests_support import sealing


def quiet(done, total):
    """No progress."""


def given(tiny, people, n, m):
    public, _, z_0, c = people
    mechanism = sealing(tiny, n, m)
    return mechanism.push(z_0, c, generator(3)).having(tiny, public, mechanism)


def test_a_clean_look_is_described_as_the_decoded_picture(tiny, people):
    public, _, z_0, _ = people
    seen = see(given(tiny, people, -1, None).rows(4), tiny.schedule)
    got = _probe.described(seen, tiny, public, tell=quiet)
    wanted = torch.from_numpy(identity.describe(tiny.decode_pixels(z_0[:4]))).float()
    assert got.shape == (4, identity.DESCRIPTION)
    assert torch.nn.functional.cosine_similarity(got, wanted).min() > 0.97


def test_a_condition_that_leaked_is_seen_beside_the_picture(tiny, people):
    seen = see(given(tiny, people, 600, 200).rows(3), tiny.schedule)
    both = _probe.described(seen, tiny, people[0], tell=quiet)
    alone = _probe.described(see(given(tiny, people, 600, None).rows(3), tiny.schedule), tiny, people[0], tell=quiet)
    assert both.shape[1] == 2 * alone.shape[1] == 2 * identity.DESCRIPTION


def test_it_learns_public_people_at_the_same_seed_the_same(tiny, people, monkeypatch):
    monkeypatch.setattr(_identity, "STEPS", 400)
    known = given(tiny, people, -1, None)
    probe, curve = _probe.train(known, releases=1, steps=60, seed=1, tell=quiet)
    again, _ = _probe.train(known, releases=1, steps=60, seed=1, tell=quiet)
    assert curve[-1][1] < 0.8 * curve[0][1] and torch.equal(probe.weight, again.weight)
    said = probe(_probe.described(see(known, tiny.schedule), tiny, people[0], tell=quiet))
    assert said.norm(dim=1).tolist() == pytest.approx([1.0] * len(said), abs=1e-5)
