import math

import mpmath
import numpy as np
import pytest
from dp_accounting import get_epsilon_gaussian, get_sigma_gaussian
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import given
from hypothesis.strategies import floats, just

from sfumato.accounting import gaussian


def exact_delta(epsilon, mu):
    with mpmath.workdps(60):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(m / 2 - e / m) - mpmath.e**e * mpmath.ncdf(-m / 2 - e / m)


@pytest.mark.parametrize(("epsilon", "mu"), [(0.1, 0.5), (1, 1), (4, 0.7), (10, 2), (75, 8.7), (200, 14), (3, 0.3)])
def test_delta_against_high_precision(epsilon, mu):
    assert gaussian.log_delta(epsilon, mu) == pytest.approx(float(mpmath.log(exact_delta(epsilon, mu))), rel=1e-6)


@pytest.mark.parametrize("mu", [0.05, 0.5, 1, 5, 20, 200])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-10])
def test_epsilon_inverts_delta(mu, delta):
    epsilon = gaussian.epsilon(delta, mu)
    if epsilon > 0:
        assert float(exact_delta(epsilon, mu)) == pytest.approx(delta, rel=1e-5)
    else:
        assert exact_delta(0, mu) <= delta


def test_the_figures_of_stable_diffusions_schedule():
    # t = 999, clip 64, replace-one: epsilon about 75 for a zero-out norm of 64 ... 182 at t = 900; vacuous either way.
    mu = gaussian.mu(math.sqrt(0.00466), math.sqrt(1 - 0.00466), 2 * 64)
    assert 70 < gaussian.epsilon(1e-5, mu) < 80


def test_composition_and_edges():
    assert gaussian.compose([3, 4]) == 5
    assert gaussian.mu(1.0, 0.0, 1.0) == math.inf == gaussian.epsilon(1e-5, math.inf)
    assert gaussian.epsilon(1e-5, 0.0) == 0
    with pytest.raises(ValueError, match="delta"):
        gaussian.epsilon(0, 1.0)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_epsilon_and_mu_against_another_library(delta, mu):
    assert gaussian.epsilon(delta, mu) == pytest.approx(get_epsilon_gaussian(1 / mu, delta), rel=1e-6)
    epsilon = gaussian.epsilon(delta, mu)
    assert (
        gaussian.target_mu(epsilon, delta) == pytest.approx(1 / get_sigma_gaussian(epsilon, delta), rel=1e-6) == pytest.approx(mu, rel=1e-6)
    )


@pytest.mark.parametrize("mu", [0.3, 1.0])
def test_a_discretised_accountant_brackets_it(mu):
    def bound(pessimistic):
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            1 / mu, value_discretization_interval=1e-3, pessimistic_estimate=pessimistic
        )
        return loss.self_compose(4).get_epsilon_for_delta(1e-5)

    exact = gaussian.epsilon(1e-5, gaussian.compose([mu] * 4))
    assert bound(False) - 1e-9 <= exact <= bound(True) + 1e-9 and bound(True) - bound(False) < 0.05 * exact


def test_sensitivity_of_each_relation():
    assert gaussian.sensitivity(3.0, "replace-one") == 6.0 and gaussian.sensitivity(3.0, "zero-out") == 3.0
    for clip in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="clip"):
            gaussian.sensitivity(clip, "replace-one")
    with pytest.raises(ValueError, match="add-or-remove"):
        gaussian.sensitivity(3.0, "add-or-remove")


def test_a_person_is_as_many_releases():
    assert gaussian.person(0.7, 9) == pytest.approx(gaussian.compose([0.7] * 9))
    with pytest.raises(ValueError, match="at least 1"):
        gaussian.person(0.7, 0)


@pytest.mark.parametrize(("target", "clip", "releases"), [(2.2, 0.5, 1), (1.0, 0.2, 1), (1.0, 0.2, 100), (8.0, 2.0, 4)])
def test_the_first_step_that_meets_a_target_and_not_the_one_before(target, clip, releases):
    bar = [(1 - 0.02) ** t for t in range(1, 1001)]
    alphas, sigmas = [b**0.5 for b in bar], [(1 - b) ** 0.5 for b in bar]
    step = gaussian.first_step(alphas, sigmas, delta_norm=2 * clip, target=target, delta=1e-5, releases=releases)

    def spent(t):
        return gaussian.epsilon(1e-5, math.sqrt(releases) * gaussian.mu(alphas[t], sigmas[t], 2 * clip))

    assert step is not None and spent(step) <= target < spent(step - 1)


def test_a_target_that_no_step_meets_is_none():
    # SD's last step: alpha_bar 0.00466. An epsilon of 8 with clip 64 is out of reach, however late.
    last = ([0.00466**0.5], [(1 - 0.00466) ** 0.5])
    assert gaussian.first_step(*last, delta_norm=128, target=8, delta=1e-5) is None
    assert gaussian.first_step(*last, delta_norm=0.1, target=8, delta=1e-5) == 0
    for wrong in ({"target": -1.0}, {"target": math.inf}, {"target": math.nan}, {"releases": 0}):
        with pytest.raises(ValueError, match="target|releases"):
            gaussian.first_step(*last, **({"delta_norm": 1.0, "target": 1.0, "delta": 1e-5} | wrong))


@given(epsilon=just(0.0) | floats(0.01, 200), log_delta=floats(-200, -1))
def test_mu_and_epsilon_are_each_others_inverse(epsilon, log_delta):
    delta = math.exp(log_delta)
    mu = gaussian.target_mu(epsilon, delta)
    assert gaussian.log_delta(epsilon, mu) == pytest.approx(log_delta, rel=1e-9)
    assert gaussian.epsilon(delta, mu) == pytest.approx(epsilon, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("candidates", "mu", "bound"),
    [(200, 0.0, 1 / 200), (10**6, 0.0, 1e-6), (1, 0.3, 1.0), (200, 1.0, 0.05754), (200, 2.0, 0.2825), (200, 3.0, 0.6644), (2, 1.0, 0.8413)],
)
def test_the_identification_bound_by_hand(candidates, mu, bound):
    assert gaussian.identification(candidates, mu) == pytest.approx(bound, rel=1e-3)


@given(candidates=floats(2, 1e9), mu=floats(0, 30))
def test_the_identification_bound_against_high_precision(candidates, mu):
    with mpmath.workdps(40):
        quantile = mpmath.sqrt(2) * mpmath.erfinv(2 / mpmath.mpf(candidates) - 1)
        assert gaussian.identification(candidates, mu) == pytest.approx(float(mpmath.ncdf(quantile + mu)), rel=1e-6)


@pytest.mark.parametrize(("candidates", "mu"), [(2, 0.5), (2, 2.0), (20, 1.0), (200, 2.0)])
def test_the_best_guess_from_a_noised_release_stays_below_the_bound_and_reaches_it_for_two(candidates, mu):
    """Candidates at distance mu from the release that holds none, as far from one another as can be; the likeliest is guessed."""
    draws, trials = np.random.default_rng(0), 20_000
    points = np.eye(candidates) - 1 / candidates
    points *= mu / np.linalg.norm(points[0])
    seen = points[0] + draws.standard_normal((trials, candidates))
    hits = (np.argmax(seen @ points.T, axis=1) == 0).mean()  # all norms are the same, so the likeliest is the nearest
    bound, error = gaussian.identification(candidates, mu), 4 * 0.5 / trials**0.5
    assert hits <= bound + error
    assert hits > 1.3 / candidates  # a guess that uses the release
    if candidates == 2:
        assert hits == pytest.approx(bound, abs=error)


def test_what_cannot_be_a_line_up_is_refused_and_no_guarantee_bounds_nothing():
    assert gaussian.identification(10**6, math.inf) == 1.0
    for candidates, mu in ((0, 1.0), (0.5, 1.0), (math.inf, 1.0), (math.nan, 1.0), (200, -0.1), (200, math.nan)):
        with pytest.raises(ValueError, match="candidates|mu"):
            gaussian.identification(candidates, mu)
