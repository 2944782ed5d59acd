import math

import mpmath
import pytest

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
