"""The line-up: who was trained on is found, who pleases every adapter is not named, and everybody meets the same noise."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from adapters_support import adapter_of, output
from sfumato.adapters.lora import Adapter, attached
from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights import lineup_likelihood as attack
from sfumato.attacker.weights._layout import Layout
from sfumato.attacker.weights._sampling import merged
from sfumato.attacker.weights._shadows import PublicAdapters, Shadow, Shadows
from sfumato.attacker.weights.base import Class, Guess, LineUp, Published
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator

M, K, TRAINED_ON = 24, 3, 3
PROMPT = "a sks peep"


def people(seed, count=M, each=K):
    """Latents ``(count, each, 4, 8, 8)``: everybody's pictures are alike."""
    who = torch.randn((count, 1, 4, 8, 8), generator=generator(seed))
    return 2 * who + 0.3 * torch.randn((count, each, 4, 8, 8), generator=generator(seed, 1))


def line_up_of(z_0):
    return LineUp(torch.zeros(*z_0.shape[:2], 8, 8, 3, dtype=torch.uint8).numpy(), z_0)


@pytest.fixture(scope="module")
def everybody():
    return people(3, each=2 * K)


@pytest.fixture(scope="module")
def line_up(everybody):
    return line_up_of(everybody[:, K:])


class Denoiser(torch.nn.Module):
    """Says that everything is noise, until an adapter knows better: ``eps = W z_t``, W = 1 before."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Linear(256, 256, bias=False).requires_grad_(False)
        self.mix.weight.copy_(torch.eye(256))
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def forward(self, z_t, t, encoder_hidden_states):
        return SimpleNamespace(sample=self.mix(z_t.flatten(1)).view_as(z_t))


@pytest.fixture(scope="module")
def linear(base):
    return dataclasses.replace(base, unet=Denoiser())


def trained_on(pictures):
    """What takes off along the pictures' own direction, as far as it is no noise: the best adapter of rank 1 for them."""
    u = torch.linalg.svd(pictures.flatten(1), full_matrices=False).Vh[:1]
    return Adapter(factors={"unet.mix": (u, -0.5 * u.mT)}, alphas={"unet.mix": 1.0})


@pytest.fixture(scope="module")
def victim(everybody):
    """Trained on the first pictures of one candidate, of whom the line-up shows others."""
    return trained_on(everybody[TRAINED_ON, :K])


def null(adapter):
    return Adapter(factors={name: (a, torch.zeros_like(b)) for name, (a, b) in adapter.factors.items()}, alphas=adapter.alphas)


def public_of(adapters):
    layout = Layout.of(adapters[0])
    row = [layout.row({name: (a, b) for name, (a, b) in adapter.factors.items()})[None] for adapter in adapters]
    shown = tuple(Shadow(one, torch.tensor([10]), torch.zeros(1, 4, 8, 8)) for one in row)
    return PublicAdapters(Shadows(layout, shown), tuple(f"public {k}" for k in range(len(adapters))))


def scores(base, adapter, line_up, row, *more):
    found = weights.attempt(f"lineup_likelihood:{row}", Scenario(base, Published(adapter), line_up, Class("a peep"), *more))
    assert isinstance(found, Guess) and found.images is None
    return found.scores


# ---------------------------------------------------------------- who


def test_the_person_that_was_trained_on_is_found_among_others_by_other_pictures(linear, everybody, line_up):
    strangers = public_of([trained_on(one) for one in people(50, count=6)])
    for person in range(0, M, 3):
        victim = trained_on(everybody[person, :K])
        for row in attack.VARIANTS:
            found = scores(linear, victim, line_up, row, strangers)
            assert found.shape == (M,) and int(found.argmax()) == person, row


def test_who_pleases_every_adapter_is_named_by_the_raw_one_and_not_by_the_calibrated(linear, everybody):
    """All adapters know what people have in common, and one candidate has most of it."""
    common = torch.nn.functional.normalize(torch.randn(1, 256, generator=generator(60)))
    usual = everybody.clone()
    usual[0] += 60 * common.view(4, 8, 8)
    shown = line_up_of(usual[:, K:])

    def knows(pictures):
        u = torch.cat([trained_on(pictures).factors["unet.mix"][0], common])
        return Adapter(factors={"unet.mix": (u, -0.5 * u.mT)}, alphas={"unet.mix": 2.0})

    victim, strangers = knows(everybody[TRAINED_ON, :K]), public_of([knows(one) for one in people(50, count=6)])
    assert int(scores(linear, victim, shown, "raw").argmax()) == 0
    assert int(scores(linear, victim, shown, "calibrated", strangers).argmax()) == TRAINED_ON


def test_an_adapter_that_adds_nothing_says_nothing_of_anybody(linear, line_up, victim):
    assert bool((scores(linear, null(victim), line_up, "raw") == 0).all())
    strangers = public_of([trained_on(one) for one in people(50, count=6)])
    said = scores(linear, null(victim), line_up, "calibrated", strangers)
    assert bool((said == 0).all())  # all alike, so that nobody comes first


def test_strangers_adapters_name_a_person_as_often_as_chance_does():
    draws, hits, n, m = generator(0), 0, 3000, 20
    usual = torch.randn(m, generator=draws)
    public = usual + 0.5 * torch.randn((12, m), generator=draws)
    for _ in range(n):
        own = usual + 0.5 * torch.randn(m, generator=draws)
        hits += int(attack.calibrated(own, public).argmax()) == int(torch.randint(m, (), generator=draws))
    assert abs(hits / n - 1 / m) < 4 * (1 / m * (1 - 1 / m) / n) ** 0.5


# ---------------------------------------------------------------- pairing


def test_everybody_meets_the_same_noise_at_the_same_steps_and_so_does_the_base(base, line_up, monkeypatch):
    met, forward = [], type(base.unet).forward

    def spy(self, z_t, t, encoder_hidden_states, **more):
        met.append((z_t.clone(), t.clone()))
        return forward(self, z_t, t, encoder_hidden_states=encoder_hidden_states, **more)

    monkeypatch.setattr(type(base.unet), "forward", spy)
    attack.losses(base, line_up, "", "quick")
    first, met = met, []
    attack.losses(merged(base, adapter_of(base)), line_up, PROMPT, "quick")
    assert len(first) == len(met) == K * attack.STEPS
    for (z_t, t), (again, t_again), (picture, _) in zip(first, met, attack.looks(line_up, "quick"), strict=True):
        assert torch.equal(z_t, again) and torch.equal(t, t_again) and len(set(t.tolist())) == 1 and 300 <= int(t[0]) <= 900
        noise = z_t - float(base.schedule.alpha(int(t[0]))) * line_up.z_0[:, picture]
        assert torch.allclose(noise, noise[:1].expand_as(noise), atol=1e-5) and noise.std() > 0.5 * float(base.schedule.sigma(int(t[0])))
    assert len({int(t[0]) for _, t in first}) == attack.STEPS


def test_no_score_depends_on_the_order_or_on_who_else_is_there(base, line_up):
    order, adapter = torch.randperm(M, generator=generator(4)), adapter_of(base)
    whole = scores(base, adapter, line_up, "raw")
    assert torch.allclose(scores(base, adapter, line_up_of(line_up.z_0[order]), "raw"), whole[order], rtol=0.02, atol=1e-4)
    assert torch.allclose(scores(base, adapter, line_up_of(line_up.z_0[:2]), "raw"), whole[:2], rtol=0.02, atol=1e-4)
    assert float(whole.std()) > 0.01 * float(whole.abs().mean())


@pytest.mark.parametrize("pictures", [1, 2, 7])
def test_every_picture_is_looked_at_at_every_step(pictures):
    shown = line_up_of(people(1, count=2, each=pictures))
    for effort, most in attack.PICTURES.items():
        found, count = attack.looks(shown, effort), min(pictures, most)
        assert len(found) == attack.STEPS * count and set(found) == {(k, j) for k in range(count) for j in range(attack.STEPS)}


def test_the_base_is_asked_once_for_a_line_up_and_public_adapters_too(linear, victim, monkeypatch):
    asked, losses = [], attack.losses
    monkeypatch.setattr(attack, "losses", lambda *how: asked.append(how[0] is linear) or losses(*how))
    shown, strangers = line_up_of(people(8)), public_of([trained_on(one) for one in people(50, count=2)])
    first = scores(linear, victim, shown, "calibrated", strangers)
    assert sorted(asked) == [False, False, False, True]
    assert torch.equal(scores(linear, victim, shown, "calibrated", strangers), first) and len(asked) == 4
    scores(linear, null(victim), shown, "calibrated", strangers)
    assert len(asked) == 5


# ---------------------------------------------------------------- calibration


def test_calibration_takes_off_what_every_adapter_says_of_a_candidate_exactly():
    usual = torch.tensor([9.0, -1.0, 0.5, 4.0, -3.0, 2.0])
    off = torch.randn((4, 6), generator=generator(2))
    public = usual + off - off.mean(0)
    for loud in (0.5, 1.0, 3.0):
        assert float(attack.calibrated(1.7 + loud * usual, public).abs().max()) < 1e-5  # however loud, and whatever it says of all
    own = usual.clone()
    own[4] += 2.0  # who pleases strangers least, and this adapter more than was to be expected
    assert int(own.argmax()) == 0 and int(attack.calibrated(own, public).argmax()) == 4


def test_what_strangers_disagree_on_counts_less():
    usual = torch.linspace(-2, 2, 40)
    noise = torch.randn((200, 40), generator=generator(3))
    noise[:, 7] *= 20
    own = usual.clone()
    own[7] += 3.0
    own[21] += 2.0
    assert int((own - usual).argmax()) == 7 and int(attack.calibrated(own, usual + 0.1 * noise).argmax()) == 21


@pytest.mark.parametrize(("own", "public"), [((3,), (1, 3)), ((3,), (2, 4)), ((1,), (2, 1)), ((3,), (3,))])
def test_too_few_or_others_are_no_calibration(own, public):
    with pytest.raises(UserError, match="two candidates"):
        attack.calibrated(torch.zeros(own), torch.zeros(public))


def test_without_public_adapters_there_is_the_raw_one(linear, line_up, victim):
    known = Scenario(linear, Published(victim), line_up)
    assert weights.attempt("lineup_likelihood:calibrated", known) == NoChannel((PublicAdapters,))
    guess = weights.attempt("lineup_likelihood:raw", known)
    assert isinstance(guess, Guess) and guess.budget["public adapters"] == 0 and guess.budget["looks"] == K * attack.STEPS


def test_a_line_up_without_pictures_or_with_those_of_others_is_none():
    for shape in ((2, 0), (3, 1)):
        with pytest.raises(UserError, match="one picture of everybody"):
            LineUp(torch.zeros(2, shape[1], 8, 8, 3, dtype=torch.uint8).numpy(), torch.zeros(*shape, 4, 8, 8))


def test_a_merged_adapter_computes_what_an_attached_one_does_and_leaves_the_base(base):
    adapter, before = adapter_of(base, 4), output(base)
    found = output(merged(base, adapter))
    with attached(base, adapter):
        assert torch.allclose(output(base), found, atol=1e-4)
    assert torch.equal(output(base), before) and not torch.allclose(found, before, atol=1e-2)
