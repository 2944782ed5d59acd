"""An audit that can fail: what is claimed is nearly reached, and half the noise is found out."""

import math

import pytest
import torch

from sfumato.accounting import accountant, gaussian
from sfumato.accounting.accountant import Release
from sfumato.judge.audit import mechanism
from sfumato.judge.audit.mechanism import audit, sealing


def claiming(epsilon, *, entries=1, alpha=0.1):
    """A ledger whose entries together claim exactly ``epsilon`` at delta 1e-5."""
    sigma = math.sqrt(1 - alpha**2)
    mu = gaussian.target_mu(epsilon, 1e-5) / math.sqrt(entries)
    return [Release(what=what, alpha=alpha, sigma=sigma, clip=mu * sigma / (2 * alpha)) for what in ("picture", "condition")[:entries]]


@pytest.mark.parametrize("entries", [1, 2])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0])
def test_the_bound_is_below_the_claim_and_near_it(epsilon, entries):
    found = audit(claiming(epsilon, entries=entries), unit="one picture", insecure_seed=int(10 * epsilon))
    assert found["auditable"] and found["claimed_epsilon"] == pytest.approx(epsilon)
    assert 0.7 * epsilon <= found["measured_epsilon"] <= epsilon and not found["refuted"]


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0])
def test_half_the_noise_is_refuted(epsilon):
    def half(z_0, release, noise):
        quiet = sealing(z_0, release, noise)
        signal = release.alpha * sealing_clip(z_0, release)
        return signal + (quiet - signal) / 2

    found = audit(claiming(epsilon), unit="one picture", insecure_seed=1, mechanism=half)
    assert found["refuted"] and found["measured_epsilon"] > epsilon


def sealing_clip(z_0, release):
    return mechanism.latent_clip.apply(z_0, release.clip).double()


def test_a_forgotten_clip_is_refuted():
    def unclipped(z_0, release, noise):
        return release.alpha * z_0.double() + release.sigma * noise.normal(tuple(z_0.shape))

    assert audit(claiming(1.0), unit="one picture", insecure_seed=2, mechanism=unclipped)["refuted"]


def test_hardly_any_noise_is_refuted():
    def quiet(z_0, release, noise):
        return sealing_clip(z_0, release) * release.alpha + 1e-3 * release.sigma * noise.normal(tuple(z_0.shape))

    assert audit(claiming(2.0), unit="one picture", insecure_seed=3, mechanism=quiet, draws=1000)["refuted"]


def test_what_is_vacuous_or_not_claimed_is_not_auditable():
    vacuous = audit(claiming(10.5), unit="one picture", insecure_seed=0)
    assert not vacuous["auditable"] and "vacuous" in vacuous["why"]
    none = audit([Release(what="picture", alpha=0.1, sigma=0.9, clip=None)], unit="one picture", insecure_seed=0)
    assert not none["auditable"] and "no clip" in none["why"] and "claimed_epsilon" not in none


def test_the_audited_mechanism_is_the_one_that_seals(base):
    """The same numbers as the owner's own path, draw for draw."""
    from sfumato.core.randomness import InsecureNoise
    from sfumato.defences.pipeline import seal
    from sfumato.records import privacy
    from sfumato.records.record import SealSettings

    settings = SealSettings(condition="canny", seal_step=700, condition_step=300, clip=3.0, condition_clip=2.0)
    z_0, c = torch.randn(2, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    wanted = seal(z_0, c, settings, base.schedule, noise=InsecureNoise(4))
    noise = InsecureNoise(4)
    for release, latents, sealed in zip(privacy.releases(settings, base.schedule), (z_0, c), wanted.values(), strict=True):
        assert torch.equal(sealing(latents, release, noise).half(), sealed)
    assert accountant.total(privacy.releases(settings, base.schedule)) > 0


@pytest.mark.parametrize(("errors", "draws"), [(0, 100), (3, 100), (100, 100)])
def test_upper_limits_cover(errors, draws):
    limit = mechanism.upper_limit(errors, draws, confidence=0.99)
    tail = sum(math.comb(draws, k) * limit**k * (1 - limit) ** (draws - k) for k in range(errors + 1))
    assert limit == 1.0 if errors == draws else tail == pytest.approx(0.01, rel=1e-6)
