"""DDIM where the answer is known: point masses come back exactly, a Gaussian keeps its law, guidance extrapolates."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.schedule import Schedule

SCHEDULE = Schedule((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0))
DEVICE = torch.device("cpu")


class Exact(torch.nn.Module):
    """The exact model of pictures that are all ``x0[context]``, or (``spread``) Gaussian around it."""

    device = DEVICE

    def __init__(self, x0, *, prediction="epsilon", spread=0.0):
        super().__init__()
        self.x0, self.prediction, self.spread, self.calls = x0, prediction, spread, []

    def forward(self, z, t, *, encoder_hidden_states, **residuals):
        self.calls.append((int(t), residuals))
        alpha, sigma = float(SCHEDULE.alpha(int(t))), float(SCHEDULE.sigma(int(t)))
        mean = self.x0[encoder_hidden_states[:, 0, 0].long()].view(-1, 1, 1, 1)
        eps = sigma * (z - alpha * mean) / (alpha**2 * self.spread**2 + sigma**2)
        if self.prediction == "epsilon":
            return SimpleNamespace(sample=eps)
        return SimpleNamespace(sample=alpha * eps - sigma * (z - sigma * eps) / alpha)


def exact_base(x0=(0.0, 1.0), **how):
    """A base whose empty prompt is context 0 and whose other prompts are context 1."""
    unet = Exact(torch.tensor(x0), **how)
    base = SimpleNamespace(
        size=16, factor=4, unet=unet, schedule=SCHEDULE, prediction_type=unet.prediction, empty_context=torch.zeros(1, 2, 3),
        embed=lambda prompts: torch.stack([torch.full((2, 3), float(bool(p))) for p in prompts]),
    )  # fmt: skip
    base.predict_noise = partial(Base.predict_noise, base)
    return base


def draw(base, prompts, seed=0, **arguments):
    return sample(base, prompts, generator=torch.Generator().manual_seed(seed), **arguments)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_a_point_mass_comes_back_in_any_number_of_steps(prediction, steps):
    made = draw(exact_base((0.0, -0.7), prediction=prediction), ["a", "b"], steps=steps, guidance=1.0)
    assert made.shape == (2, 4, 4, 4) and torch.allclose(made, torch.full_like(made, -0.7), atol=1e-3)


@pytest.mark.parametrize("guidance", [0.0, 2.0, 3.0, 7.5])
def test_guidance_extrapolates_from_the_empty_prompt(guidance):
    made = draw(exact_base((0.2, 0.5)), ["a"], steps=4, guidance=guidance)
    assert torch.allclose(made, torch.full_like(made, 0.2 + guidance * 0.3), atol=1e-3)


def test_the_empty_prompt_is_not_moved_by_guidance():
    made = draw(exact_base((0.2, 0.5)), [""], steps=4, guidance=9.0)
    assert torch.allclose(made, torch.full_like(made, 0.2), atol=1e-3)


def test_a_gaussian_keeps_its_law_but_for_the_signal_of_the_last_step():
    """Stable Diffusion's last step still holds alpha_T of the picture; noise that starts there holds none of it."""
    spread, alpha, sigma = 0.5, float(SCHEDULE.alpha(999)), float(SCHEDULE.sigma(999))
    start = (alpha**2 * spread**2 + sigma**2) ** 0.5
    made = draw(exact_base((0.0, 1.0), spread=spread), ["a"] * 400, steps=200, guidance=1.0)
    assert float(made.mean()) == pytest.approx(1 - alpha * spread / start, abs=5 * spread / 6400**0.5 + 5e-3)
    assert float(made.std()) == pytest.approx(spread / start, rel=0.05)


def test_nothing_is_drawn_after_the_starting_noise():
    base = exact_base((0.0, 0.0), spread=1.0)
    assert torch.equal(draw(base, ["a"], steps=5), draw(base, ["a"], steps=5))
    assert not torch.equal(draw(base, ["a"], steps=5), draw(base, ["a"], seed=1, steps=5))


def test_steps_start_at_the_top_fall_and_leave_out_the_clean_end():
    base, ticks = exact_base(), []
    draw(base, ["a"], steps=10, on_step=lambda: ticks.append(1))
    times = [t for t, _ in base.unet.calls]
    assert times[0] == 999 and times == sorted(set(times), reverse=True) and times[-1] > 0 and len(times) == len(ticks) == 10


def test_ancestral_steps_from_a_sealed_latent_draw_from_its_posterior():
    """Data N(1, 0.5^2): ``p(z_0 | z_n)`` is Gaussian and known; its draws must have that mean and that spread."""
    n, spread = 600, 0.5
    alpha, sigma = float(SCHEDULE.alpha(n)), float(SCHEDULE.sigma(n))
    z_n = torch.full((400, 4, 4, 4), alpha * 1.4 + 0.3 * sigma)
    gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
    mean = 1 + gain * (float(z_n[0, 0, 0, 0]) - alpha)
    wanted = (spread**2 - gain * alpha * spread**2) ** 0.5
    base = exact_base((0.0, 1.0), spread=spread)
    made = draw(base, ["a"] * 400, steps=300, guidance=1.0, start=(z_n, n), eta=1.0)
    assert float(made.mean()) == pytest.approx(mean, abs=0.01) and float(made.std()) == pytest.approx(wanted, rel=0.03)
    assert base.unet.calls[0][0] == n


def test_without_eta_a_sealed_latent_has_one_image():
    base, z_n = exact_base((0.0, 1.0), spread=0.5), torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    first, second = (draw(base, ["a"] * 3, seed=seed, steps=20, guidance=1.0, start=(z_n, 600)) for seed in (0, 1))
    assert torch.equal(first, second)
    third, fourth = (draw(base, ["a"] * 3, seed=seed, steps=20, guidance=1.0, start=(z_n, 600), eta=1.0) for seed in (0, 1))
    assert not torch.equal(third, fourth)


@pytest.mark.parametrize(("end", "used"), [(0.0, 0), (0.4, 4), (0.75, 8), (1.0, 10)])
def test_residuals_are_used_for_their_share_of_the_steps(end, used):
    base = exact_base()
    zero = torch.zeros(1, 4, 4, 4)
    draw(base, ["a"], steps=10, controlnet=lambda *a, **k: ([zero], zero), condition=zero, control_guidance_end=end)
    assert [bool(residuals) for _, residuals in base.unet.calls] == [True] * used + [False] * (10 - used)


@pytest.mark.parametrize(
    ("captioned", "guidance", "rows", "context"), [(False, 3.0, 2, 0.0), (True, 3.0, 4, 1.0), (False, 1.0, 2, 0.0), (True, 1.0, 2, 1.0)]
)
def test_what_the_controlnet_is_shown(captioned, guidance, rows, context):
    """Without captions it sees zeros, and both halves of a guided batch share its residuals; with captions, the prompt."""
    seen = []

    def controlnet(z, t, words, *, controlnet_cond, return_dict):
        seen.append((len(z), float(words[-1].max()), len(controlnet_cond)))
        return [z.clone()], z.clone()

    base, condition = exact_base(), torch.ones(2, 4, 4, 4)
    draw(base, ["a", "b"], steps=1, guidance=guidance, controlnet=controlnet, condition=condition, captioned=captioned)
    assert seen == [(rows, context, rows)]
    down = base.unet.calls[0][1]["down_block_additional_residuals"]
    assert len(down[0]) == (4 if guidance != 1.0 else 2)
