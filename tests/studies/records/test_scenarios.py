"""What each scheme gives away, by type: no more and no less than what crosses its wire, and by the laws it declares."""

import pytest
import torch

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import (
    Activations,
    Architecture,
    Captions,
    Conditions,
    Contexts,
    Entrance,
    Files,
    GradientChannel,
    Latents,
    Mechanism,
    Mixed,
    Noise,
    Public,
    Update,
)
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base, load_base
from sfumato.studies.records import scenarios
from tests_support import public_and_private


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module")
def people(tiny):
    public, own, z_0, c = public_and_private(tiny, public=24, private=12)
    return public, scenarios.Private(own.images, z_0, c, own.captions, own.identities)


ALWAYS = {Base, Public}
GIVEN = {
    "centralised": {Latents, Conditions, Files, Captions, Mechanism},
    "fedavg": {Update},
    "split": {Latents, Noise, Activations, Entrance, Architecture, Contexts, GradientChannel, Mechanism},
    "oneway": {Latents, Mixed, Noise, Mechanism},
    "oneway-withheld": {Latents, Mixed, Mechanism},
    "sealed": {Latents, Conditions, Mechanism},
    "sealed-derived": {Latents, Mechanism},
}


@pytest.mark.parametrize("scheme", scenarios.known())
def test_a_scheme_gives_what_crosses_its_wire(tiny, people, scheme):
    given = scenarios.scenario(scheme, people[1], tiny, people[0], seed=0)
    kinds = {Latents, Conditions, Files, Captions, Mechanism, Update, Noise, Activations, Entrance, Architecture, Contexts, GradientChannel,
             Mixed, Base, Public}  # fmt: skip
    assert {kind for kind in kinds if given.get(kind) is not None} == GIVEN[scheme] | ALWAYS


def test_every_scheme_is_covered():
    assert set(scenarios.known()) == set(GIVEN)
    with pytest.raises(UserError, match="unknown scheme"):
        scenarios.scenario("telepathy", None, None, None, seed=0)


@pytest.mark.parametrize(("scheme", "n", "m"), [("sealed", 600, 200), ("sealed-derived", 800, None)])
def test_sealed_records_have_the_declared_noise(tiny, people, scheme, n, m):
    public, private = people
    given = scenarios.scenario(scheme, private, tiny, public, seed=0)
    latents = given[Latents]
    assert latents.n.unique().tolist() == [n]
    noise = latents.z[0] - float(tiny.schedule.alpha(n)) * private.z_0
    assert float(noise.std()) == pytest.approx(float(tiny.schedule.sigma(n)), rel=0.03) and abs(float(noise.mean())) < 0.03
    if m is not None:
        left = given[Conditions].c[0] - float(tiny.schedule.alpha(m)) * private.c
        assert float(left.std()) == pytest.approx(float(tiny.schedule.sigma(m)), rel=0.03)


def test_options_of_the_seal_are_heeded(tiny, people):
    public, private = people
    given = scenarios.scenario("sealed", private, tiny, public, seed=0, seal_step=700, condition_step=None, bits=8, clip=1.0)
    assert given[Latents].n.unique().tolist() == [700] and given[Conditions].m.unique().tolist() == [-1]
    assert torch.equal(given[Latents].z * 16, (given[Latents].z * 16).round())  # a grid of sixteenths
    with pytest.raises(UserError, match="seal_stop"):
        scenarios.scenario("sealed", private, tiny, public, seed=0, seal_stop=700)


@pytest.mark.parametrize("scheme", ["sealed", "sealed-derived"])
def test_what_leaked_in_another_way_stands_beside_the_record(tiny, people, scheme):
    """The condition is in the clear, also where the attacker learns what the mechanism does; the latents are as they were."""
    public, private = people
    plain, told = (
        scenarios.scenario(scheme, private, tiny, public, seed=3, **more) for more in ({}, {"condition": "leaked", "captions": "leaked"})
    )
    assert torch.equal(told[Latents].z, plain[Latents].z) and told[Captions].prompts == tuple(private.captions)
    pushed = told[Mechanism].push(private.z_0, private.c, torch.Generator().manual_seed(9))
    for found in (told, pushed):
        assert torch.equal(found[Conditions].c[0], private.c) and found[Conditions].m.unique().tolist() == [-1]
    nothing = scenarios.scenario("fedavg", private, tiny, public, seed=3, condition="leaked")
    assert nothing.get(Conditions) is None and nothing.get(Latents) is None
    with pytest.raises(UserError, match="condition 'canny'"):
        scenarios.scenario(scheme, private, tiny, public, seed=3, condition="canny")


def test_the_same_seed_leaks_the_same_and_the_mechanism_draws_anew(tiny, people):
    public, private = people
    a, b = (scenarios.scenario("sealed", private, tiny, public, seed=3) for _ in range(2))
    assert torch.equal(a[Latents].z, b[Latents].z)
    again = a[Mechanism].push(private.z_0, private.c, torch.Generator().manual_seed(9))
    assert again[Latents].z.shape == a[Latents].z.shape and not torch.equal(again[Latents].z, a[Latents].z)
    assert again.get(Public) is None  # what leaks, and nothing that is known beside it


def test_the_one_way_record_solves_and_the_conditions_of_one_with_eps_withheld_too(tiny, people):
    public, private = people
    as_published, withheld = (scenarios.scenario(s, private, tiny, public, seed=0) for s in ("oneway", "oneway-withheld"))
    solved, half = attempt("algebraic", as_published), attempt("algebraic", withheld)
    assert float((solved.z_0 - private.z_0).norm() / private.z_0.norm()) < 1e-3
    assert float((half.z_0 - private.z_0).norm() / private.z_0.norm()) > 0.05
    for guess in (solved, half):
        assert float((guess.c - private.c).norm() / private.c.norm()) < 0.02


def test_t_min_and_epochs_of_one_way_records(tiny, people):
    public, private = people
    given = scenarios.scenario("oneway", private, tiny, public, seed=0, t_min=900, epochs=3, activation="identity")
    assert given[Latents].n.shape == (3, len(private.z_0)) and int(given[Latents].n.min()) >= 900
    assert given[Mixed].activation == "identity"


def test_an_update_is_explained_by_its_own_pictures_and_by_no_others(tiny, people):
    public, private = people
    update = scenarios.scenario("fedavg", private, tiny, public, seed=0)[Update]
    b = update.shape[0]
    true = update.grad_of(private.z_0[:b], private.c[:b], update.t, update.eps)
    other = update.grad_of(private.z_0[b : 2 * b], private.c[b : 2 * b], update.t, update.eps)
    assert set(true) == set(update.gradients)
    assert all(torch.allclose(true[name], g, atol=1e-6) for name, g in update.gradients.items())
    distance = sum(float((other[name].detach() - g).square().sum()) for name, g in update.gradients.items())
    assert distance > 1e-6 and all(bool(g.any()) for name, g in update.gradients.items() if name.endswith("conv_in.weight"))


def test_the_split_owner_moves_by_what_comes_down(tiny, people):
    public, private = people
    channel = scenarios.scenario("split", private, tiny, public, seed=0)[GradientChannel]
    first = channel.forward(0)
    blank = scenarios.Private(private.images, private.z_0, 0 * private.c, private.captions, private.identities)
    unseen = scenarios.scenario("split", blank, tiny, public, seed=0)[GradientChannel].forward(0)
    assert torch.equal(unseen["z_t"], first["z_t"]) and not torch.equal(unseen["a"], first["a"])  # conditions do reach the wire
    assert torch.equal(channel.forward(0)["a"], first["a"])
    channel.backward(torch.ones_like(first["a"]))
    assert not torch.equal(channel.forward(0)["a"], first["a"]) and len(first["rows"]) == len(first["a"])


def test_attacks_on_a_channel_find_none_where_nothing_comes_back(tiny, people):
    public, private = people
    for scheme in ("sealed", "oneway", "sealed-derived", "centralised"):
        given = scenarios.scenario(scheme, private, tiny, public, seed=0)
        assert attempt("fsha", given) == NoChannel((GradientChannel,)) and attempt("gradient_inversion", given) == NoChannel((Update,))
    clear = attempt("algebraic", scenarios.scenario("centralised", private, tiny, public, seed=0))
    assert isinstance(clear, Guess) and (clear.images == private.images).all()


def test_captions_may_have_leaked_in_another_way(tiny, people):
    told = scenarios.scenario("sealed", people[1], tiny, people[0], seed=0, captions="leaked")
    assert told[Captions].prompts == tuple(people[1].captions)
    assert torch.equal(told[Latents].z, scenarios.scenario("sealed", people[1], tiny, people[0], seed=0)[Latents].z)
    with pytest.raises(UserError, match="captions 'some'"):
        scenarios.scenario("sealed", people[1], tiny, people[0], seed=0, captions="some")


def test_what_a_server_does_with_derived_records_changes_nothing_that_leaves(tiny, people):
    plain, drawn = (
        scenarios.scenario("sealed-derived", people[1], tiny, people[0], seed=0, **how) for how in ({}, {"draws": 4, "refresh": 1})
    )
    assert torch.equal(plain[Latents].z, drawn[Latents].z)
    for options in ({"condition_step": 200}, {"colour": "red"}, {"seal_step": "frog"}):
        with pytest.raises(UserError, match="sealed-derived with"):
            scenarios.mechanism("sealed-derived", tiny, **options)
