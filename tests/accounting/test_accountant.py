"""Every release is an entry, the whole composes them, and no number stands without its terms."""

import math

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, lists, tuples

from sfumato.accounting import accountant, gaussian
from sfumato.accounting.accountant import Release

PICTURE = Release(what="picture", alpha=0.3, sigma=0.9, clip=4.0)
CONDITION = Release(what="condition", alpha=0.6, sigma=0.8, clip=2.0)


def test_the_total_composes_every_entry_by_hand():
    mu_z, mu_c = 0.3 * 8 / 0.9, 0.6 * 4 / 0.8
    assert accountant.total([PICTURE, CONDITION]) == pytest.approx(math.hypot(mu_z, mu_c))
    assert accountant.total([PICTURE, CONDITION], earlier=5.0) == pytest.approx(math.sqrt(mu_z**2 + mu_c**2 + 25))
    assert accountant.total([PICTURE, CONDITION], earlier=5.0, relation="zero-out") == pytest.approx(math.sqrt(mu_z**2 + mu_c**2 + 25) / 2)


@pytest.mark.parametrize("times", [2, 9, 100])
def test_times_are_as_many_entries(times):
    many = Release(what="picture", alpha=0.3, sigma=0.9, clip=4.0, times=times)
    assert (
        accountant.total([many])
        == pytest.approx(accountant.total([PICTURE] * times))
        == pytest.approx(math.sqrt(times) * PICTURE.mu("replace-one"))
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clip": None}, "the picture has no clip"),
        ({"alpha": 1.0, "sigma": 0.0}, "the picture is not noised"),
        ({"void": "eps travels with it"}, "picture: eps travels with it"),
    ],
)
def test_one_entry_that_bounds_nothing_is_enough(changes, why):
    fields = {"what": "picture", "alpha": 0.3, "sigma": 0.9, "clip": 4.0} | changes
    broken = Release(**fields)
    assert math.isinf(broken.mu("replace-one")) and math.isinf(accountant.total([broken, CONDITION]))
    rows = [row for row in accountant.card([broken, CONDITION]) if "distance" not in row["unit"]]
    assert len(rows) == 4
    for row in rows:
        assert row["guarantee"] == "none" and row["why"] == why and not {"mu", "epsilon", "delta"} & set(row)


def test_units_of_the_card():
    rows = {(row["unit"], row["relation"]): row for row in accountant.card([PICTURE, CONDITION], pictures=(4,), distances={"near": 0.5})}
    one, person = "one picture with its condition", "one person with 4 pictures"
    mu = accountant.total([PICTURE, CONDITION])
    assert rows[one, "replace-one"]["mu"] == pytest.approx(mu) and rows[one, "zero-out"]["mu"] == pytest.approx(mu / 2)
    assert rows[person, "replace-one"]["mu"] == pytest.approx(2 * mu)  # sqrt(4)
    assert rows[person, "replace-one"]["releases"] == 4 and rows[one, "zero-out"]["releases"] == 1
    near = rows["two pictures at latent distance 0.5, near with one condition", "replace-one"]
    assert near["mu"] == pytest.approx(0.3 * 0.5 / 0.9) and near["clip"] == {"picture": None}
    for row in rows.values():
        assert row["epsilon"] == pytest.approx(gaussian.epsilon(1e-5, row["mu"]))
        assert row["vacuous"] == (row["epsilon"] > 10)


def test_a_distance_needs_no_clip_but_noise_that_hides_and_a_known_past():
    unclipped = Release(what="picture", alpha=0.3, sigma=0.9, clip=None)

    def near(releases, **past):
        return [row for row in accountant.card(releases, distances={"near": 1.0}, **past) if "distance" in row["unit"]]

    assert near([unclipped])[0]["mu"] == pytest.approx(0.3 / 0.9)
    assert near([Release(what="picture", alpha=0.3, sigma=0.9, clip=4.0, void="eps travels")])[0]["guarantee"] == "none"
    assert near([PICTURE], earlier=1.0, earlier_count=1) == [] and near([CONDITION]) == []


def test_an_unbounded_past_bounds_nothing():
    for row in accountant.card([PICTURE], earlier=math.inf, earlier_count=1):
        assert row["guarantee"] == "none" and "earlier release" in row["why"] and row["releases"] in (2, 20)


def test_every_line_of_the_card_has_all_its_terms():
    void = Release(what="condition", alpha=0.6, sigma=0.8, clip=2.0, void="eps travels")
    for releases in ([PICTURE, CONDITION], [PICTURE, void]):
        for line in accountant.lines(accountant.card(releases)):
            assert all(term in line for term in ("unit: ", "relation: ", "clip: ", "releases: "))
            assert ("epsilon" in line) != line.startswith("none")
            assert ("chance to pick the right one of" in line) == ("epsilon" in line)  # no small number after "none"
    assert any("VACUOUS" in line for line in accountant.lines(accountant.card([PICTURE, CONDITION])))
    mild = Release(what="picture", alpha=0.01, sigma=0.9, clip=1.0)
    assert not any("VACUOUS" in line for line in accountant.lines(accountant.card([mild])))


@pytest.mark.parametrize("changes", [{"clip": 0.0}, {"clip": -1.0}, {"clip": math.inf}, {"times": 0}, {"alpha": 0.0}, {"sigma": 1.5}])
def test_senseless_entries_are_refused(changes):
    with pytest.raises(ValueError):
        Release(**({"what": "picture", "alpha": 0.3, "sigma": 0.9, "clip": 4.0} | changes))


@given(
    steps=lists(tuples(floats(0.01, 0.99), floats(0.1, 50.0), integers(1, 20)), min_size=1, max_size=5),
    earlier=floats(0.0, 100.0),
    pictures=integers(1, 50),
)
def test_whatever_left_the_card_is_consistent(steps, earlier, pictures):
    left = [
        Release(what=f"part {i}", alpha=alpha, sigma=math.sqrt(1 - alpha**2), clip=clip, times=n)
        for i, (alpha, clip, n) in enumerate(steps)
    ]
    mu = accountant.total(left, earlier=earlier)
    assert mu >= earlier and all(mu >= release.mu("replace-one") for release in left)  # nothing that leaves makes up for another
    assert accountant.total([*left, *left], earlier=0) == pytest.approx(math.sqrt(2) * accountant.total(left))
    rows = {(row["unit"], row["relation"]): row for row in accountant.card(left, earlier=earlier, earlier_count=1, pictures=(pictures,))}
    one, person = "one picture", f"one person with {pictures} pictures"
    assert rows[one, "zero-out"]["mu"] == pytest.approx(rows[one, "replace-one"]["mu"] / 2)
    assert rows[person, "replace-one"]["mu"] == pytest.approx(math.sqrt(pictures) * mu)
    assert rows[one, "replace-one"]["epsilon"] <= rows[person, "replace-one"]["epsilon"] + 1e-9
    assert rows[one, "replace-one"]["releases"] == 1 + max(n for *_, n in steps)


@given(alpha=floats(0.01, 0.99), clip=floats(0.1, 20.0))
def test_a_guarantee_by_distance_is_that_of_a_clip_of_half_of_it(alpha, clip):
    """Two pictures within norm C lie within 2C of each other: the two ways to say it must agree."""
    release = Release(what="picture", alpha=alpha, sigma=math.sqrt(1 - alpha**2), clip=clip)
    rows = accountant.card([release], distances={"far": 2 * clip})
    near = next(row for row in rows if "distance" in row["unit"])
    assert near["mu"] == pytest.approx(release.mu("replace-one"))


def test_the_card_says_the_identification_bound_of_each_unit():
    rows = accountant.card([PICTURE], pictures=(4,))
    for row, line in zip(rows, accountant.lines(rows), strict=True):
        assert f"mu {row['mu']:.3g} for {row['unit']}" in line
        for size in accountant.LINE_UPS:
            assert f"of {size:,} at most {gaussian.identification(size, row['mu']):.2g}" in line
