"""A statement follows from its settings, and nothing that does not is believed."""

import json
from dataclasses import replace
from importlib.resources import files

import pytest
import torch

from sfumato.accounting import gaussian
from sfumato.diffusion.schedule import Schedule
from sfumato.records import privacy
from sfumato.records.record import SealSettings

BOUNDED = SealSettings(condition="canny", seal_step=900, condition_step=900, clip=8.0, condition_clip=4.0)
SCHEDULE = Schedule((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0))


def stated(settings=BOUNDED, *, secure=True, **past):
    return privacy.statement(privacy.releases(settings, SCHEDULE, secure=secure), **past)


STATED = stated(others=1, others_mu=0.5)


def test_an_exact_statement_names_all_it_depends_on():
    alpha, sigma = float(SCHEDULE.alpha(900)), float(SCHEDULE.sigma(900))
    mu = gaussian.compose([alpha * 16 / sigma, alpha * 8 / sigma, 0.5])
    assert STATED["mu"] == pytest.approx(mu) and STATED["epsilon"] == pytest.approx(gaussian.epsilon(1e-5, mu))
    assert (STATED["unit"], STATED["relation"]) == ("one picture with its condition", "replace-one")
    assert STATED["clip"] == {"picture": 8.0, "condition": 4.0} and (STATED["releases"], STATED["delta"]) == (2, 1e-5)
    assert [(e["what"], e["clip"], e["times"], e["void"]) for e in STATED["ledger"]] == [("picture", 8.0, 1, ""), ("condition", 4.0, 1, "")]
    assert STATED["others"] == {"count": 1, "mu": 0.5}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seal_step": None}, "the picture is not noised"),
        ({"condition_step": None}, "the condition is not noised"),
        ({"clip": None}, "the picture has no clip"),
        ({"condition_clip": None}, "the condition has no clip"),
        ({"seal_step": None, "clip": None, "condition_clip": None}, "the picture is not noised; the condition has no clip"),
        ({}, "an earlier release of a picture had no bound, or noise from a seed"),
    ],
)
def test_none_says_why(changes, why):
    found = stated(replace(BOUNDED, **changes), others=2, others_mu=None)
    assert (found["guarantee"], found["why"], found["releases"]) == ("none", why, 3)
    assert set(found) == {"guarantee", "why", "releases", "ledger", "others"}


def test_noise_from_a_seed_guarantees_nothing_however_large_the_step():
    found = stated(secure=False)
    assert found["guarantee"] == "none" and "seed" in found["why"] and "epsilon" not in found


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("past", [{}, {"others": 1, "others_mu": 0.5}, {"others": 3, "others_mu": 50.0}, {"others": 1, "others_mu": None}])
def test_what_an_owner_states_is_accepted(past, secure):
    for settings in (BOUNDED, replace(BOUNDED, clip=None), replace(BOUNDED, condition_step=None)):
        found = stated(settings, secure=secure, **past)
        for read in (found, json.loads(json.dumps(found))):
            privacy.check(read, settings, secure=secure)
            privacy.check_schedule(read, settings, SCHEDULE)


def test_withdrawn_releases_are_said_and_change_no_number():
    found = stated(others=1, others_mu=0.5, withdrawn=2)
    assert found == STATED | {"withdrawn": 2}
    privacy.check(found, BOUNDED, secure=True)
    assert "2 earlier releases" in privacy.describe(found) and "2 earlier releases" in "".join(privacy.card(found))
    assert "2 earlier releases" in privacy.describe(stated(replace(BOUNDED, clip=None), withdrawn=2)) and privacy.withdrawn(STATED) == ""
    for wrong in (0, -1, True, 1.0, "2", None, 10**7):
        with pytest.raises(ValueError):
            privacy.check(STATED | {"withdrawn": wrong}, BOUNDED, secure=True)


def test_a_ledger_of_other_noise_than_the_steps_have_is_refused():
    for settings in (replace(BOUNDED, seal_step=901), replace(BOUNDED, condition_step=899)):
        with pytest.raises(ValueError, match="claims noise"):
            privacy.check_schedule(STATED, settings, SCHEDULE)


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.01},
        {"epsilon": STATED["epsilon"] * (1 - 1e-5)},
        {"epsilon": float("nan")},
        {"epsilon": "0.01"},
        {"mu": -0.5},
        {"mu": 0.0, "epsilon": 0.0},
        {"mu": True},
        {"mu": float("inf")},
        {"delta": 0.0},
        {"delta": 1.0, "epsilon": 0.0},
        {"unit": "one\x1b[2J"},
        {"relation": "none"},
        {"clip": 1.0},
        {"clip": {"picture": 8.0, "condition": 1.0}},
        {"ledger": []},
        {"ledger": STATED["ledger"][:1]},
        {"ledger": STATED["ledger"][::-1]},
        {"ledger": [STATED["ledger"][0], STATED["ledger"][1] | {"alpha": 0.01}]},
        {"ledger": [STATED["ledger"][0], STATED["ledger"][1] | {"clip": 0.1}]},
        {"ledger": [STATED["ledger"][0], STATED["ledger"][1] | {"times": 2}]},
        {"ledger": [STATED["ledger"][0], STATED["ledger"][1] | {"void": "eps travels"}]},
        {"ledger": [STATED["ledger"][0], STATED["ledger"][1] | {"note": "safe"}]},
        {"ledger": [STATED["ledger"][0], STATED["ledger"][1] | {"sigma": "0.9"}]},
        {"ledger": [1, 2]},
        {"ledger": "none"},
        {"others": {"count": 0, "mu": 0.5}},
        {"others": {"count": 1, "mu": 0.0}},
        {"others": {"count": 1, "mu": None}},
        {"others": {"count": 1, "mu": 0.1}},
        {"others": {"count": True, "mu": 0.5}},
        {"others": {"count": 1}},
        {"others": 1},
        {"releases": 0},
        {"releases": True},
        {"releases": 1.0},
        {"note": "safe"},
        {"guarantee": "none"},
        {"guarantee": "perfect"},
        {"guarantee": None},
    ],
)
def test_a_statement_that_does_not_follow_is_refused(changes):
    privacy.check(STATED, BOUNDED, secure=True)
    with pytest.raises(ValueError):
        privacy.check(STATED | changes, BOUNDED, secure=True)


@pytest.mark.parametrize("name", sorted(STATED))
def test_a_statement_that_leaves_something_out_is_refused(name):
    with pytest.raises(ValueError):
        privacy.check({k: v for k, v in STATED.items() if k != name}, BOUNDED, secure=True)


@pytest.mark.parametrize("name", ["seal_step", "condition_step", "clip", "condition_clip"])
def test_no_guarantee_without_noise_and_clip(name):
    with pytest.raises(ValueError, match="not that of the settings"):
        privacy.check(STATED, replace(BOUNDED, **{name: None}), secure=True)


def test_no_guarantee_without_secure_noise():
    with pytest.raises(ValueError, match="from a seed"):
        privacy.check(STATED, BOUNDED, secure=False)


NONE = stated(replace(BOUNDED, clip=None))


@pytest.mark.parametrize("found", [{}, {k: v for k, v in NONE.items() if k != "ledger"}, NONE | {"why": 1}, NONE | {"epsilon": 0.1}])
def test_none_stands_alone(found):
    privacy.check(NONE, replace(BOUNDED, clip=None), secure=True)
    with pytest.raises(ValueError):
        privacy.check(found, replace(BOUNDED, clip=None), secure=True)


def test_an_epsilon_is_never_said_alone():
    mild = stated(replace(BOUNDED, clip=1.0, condition_clip=0.5))
    for found, clips in ((STATED, ("clip 8", "condition clip 4")), (mild, ("clip 1", "condition clip 0.5"))):
        line = privacy.describe(found)
        terms = (f"epsilon {found['epsilon']:.4g}", "delta 1e-05", privacy.UNIT, "replace-one", f"releases: {found['releases']}", *clips)
        assert all(term in line for term in terms)
    assert "vacuous" in privacy.describe(STATED) and "vacuous" not in privacy.describe(mild)


def test_none_shows_no_number_and_no_control_characters():
    line = privacy.describe({"guarantee": "none", "why": "no clip\x1b[2J", "releases": 1})
    assert line.startswith("none (no clip\\x1b[2J)") and "epsilon" not in line


def test_the_card_says_what_left_and_epsilon_by_unit():
    said = privacy.card(STATED)
    assert sum(line.startswith("left: ") for line in said) == 2 and "1 more record" in said[2]
    numbers = [line for line in said if line.startswith("epsilon")]
    assert len(numbers) == 4 and all(all(term in line for term in ("unit:", "relation:", "clip:", "releases:")) for line in numbers)
    assert f"epsilon {STATED['epsilon']:.4g}" in numbers[0]


def test_a_condition_that_does_not_leave_is_in_no_ledger():
    derived = SealSettings(condition="canny", seal_step=900, condition_step=None, clip=8.0, derived=True)
    found = stated(derived)
    privacy.check(found, derived, secure=True)
    assert found["unit"] == "one picture" and found["clip"] == {"picture": 8.0} and [e["what"] for e in found["ledger"]] == ["picture"]
    assert "one picture;" in privacy.describe(found) and "condition" not in "".join(privacy.card(found)[:-3])
    for other in (STATED, stated()):
        with pytest.raises(ValueError, match="2 entries; expected 1"):
            privacy.check(other, derived, secure=True)


def test_a_card_without_noise_has_no_number():
    said = privacy.card(stated(replace(BOUNDED, seal_step=None)))
    assert not any("epsilon" in line for line in said) and said[-1].startswith("guarantee: none, for any unit (the picture is not noised")


KNOWN = next(iter(json.loads((files("sfumato") / privacy.DISTANCES).read_text())))


def test_the_card_tells_near_pictures_apart_where_distances_were_measured():
    alone = stated()
    near = [line for line in privacy.card(alone, fingerprint=KNOWN) if "latent distance" in line]
    assert len(near) == 2 and all(line.startswith("epsilon") for line in near)
    assert not any("latent distance" in line for line in privacy.card(alone, fingerprint="0" * 64))


@pytest.mark.parametrize("past", [{}, {"others": 1, "others_mu": None}])
@pytest.mark.parametrize("changes", [{"clip": None}, {"condition_clip": None}, {"clip": None, "condition_clip": None}, {"seal_step": None}])
def test_none_is_followed_by_no_epsilon(changes, past):
    """Not of any unit: pairs of near pictures have a small one without a clip, and it would be taken for a guarantee."""
    for secure in (True, False):
        found = stated(replace(BOUNDED, **changes), secure=secure, **past)
        said = [privacy.describe(found), *privacy.card(found, fingerprint=KNOWN, person=36)]
        assert found["guarantee"] == "none" and not any("epsilon" in line for line in said) and "none, for any unit" in said[-1]


def test_a_person_has_as_many_pictures_as_the_folder_says():
    mu = STATED["mu"]
    for person, k in ((36, 36), (2, 2), (None, privacy.SUPPOSED)):
        said = privacy.card(STATED, person=person)
        of_person = [line for line in said if "one person" in line and line.startswith("epsilon")]
        assert len(of_person) == 2 and all(f"one person with {k} pictures" in line for line in of_person)
        assert f"epsilon {gaussian.epsilon(1e-5, gaussian.person(mu, k)):.4g} " in of_person[0]
        assert any("is not known here" in line for line in said) is (person is None)
    assert not any("one person" in line for line in privacy.card(STATED, person=1))  # that is one picture


def test_the_distances_of_a_card_occur():
    """Measured with their provenance, and the nearest far from the distance of 1 at which everything looks hidden."""
    for fingerprint, row in json.loads((files("sfumato") / privacy.DISTANCES).read_text()).items():
        assert len(fingerprint) == 64 and row["pictures"] >= 200 and row["command"].startswith("python recipes/")
        assert 0 < row["nearest"] <= row["median"] and list(privacy.distances(fingerprint).values()) == [row["nearest"], row["median"]]


def test_the_card_and_the_guarantee_count_in_one_unit():
    for others in (0, 1, 4):
        found = stated(others=others, others_mu=float(others))
        lines = [line for line in privacy.card(found) if "releases: " in line]
        counts = {int(line.rpartition("releases: ")[2].rstrip("]")) for line in lines}
        assert f"releases: {1 + others} as of this one" in privacy.describe(found) and counts == {1 + others, 10 * (1 + others)}


def test_every_epsilon_has_the_identification_bound_beside_it_and_none_has_no_number():
    for line in (privacy.describe(STATED), *privacy.card(STATED)):
        assert ("epsilon" in line) == ("chance to pick the right one of" in line)
    assert f"of 200 at most {gaussian.identification(200, STATED['mu']):.2g}" in privacy.describe(STATED)
    nothing = stated(replace(BOUNDED, clip=None))
    assert not any("chance to pick the right one of" in line for line in (privacy.describe(nothing), *privacy.card(nothing)))
