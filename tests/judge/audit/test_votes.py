"""The audit of a vote finds noise that is too small, and does not refute what is as it is claimed."""

import pytest

from sfumato.accounting import votes
from sfumato.judge.audit import votes as audits


@pytest.mark.parametrize(("epsilon", "rounds"), [(4.0, 1), (2.0, 3)])
def test_a_vote_leaks_no_more_than_it_claims_and_the_audit_sees_most_of_it(epsilon, rounds):
    found = audits.audit(epsilon, rounds, insecure_seed=0, draws=10_000)
    assert not found.refuted and 0.75 * found.claimed_mu < found.measured_mu <= found.claimed_mu
    assert found.measured_epsilon <= found.claimed_epsilon == epsilon


@pytest.mark.parametrize(("epsilon", "rounds"), [(4.0, 1), (2.0, 2)])
def test_half_the_noise_is_refuted(epsilon, rounds):
    found = audits.audit(
        epsilon, rounds, insecure_seed=1, draws=8000, noiser=lambda sums, sigma, noise: votes.noised(sums, sigma / 2, noise)
    )
    assert found.refuted and found.measured_mu > 1.5 * found.claimed_mu


def test_a_person_who_counts_for_more_than_one_is_refuted(monkeypatch):
    """As with every picture voting for itself, under a claim for a person."""
    monkeypatch.setattr(votes, "scaled", lambda counts: [count << votes.ONE_BITS for count in counts])
    assert audits.audit(4.0, 1, insecure_seed=2, draws=5000).refuted
