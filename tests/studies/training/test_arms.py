"""What the arms of a comparison hold each other to: a ceiling differs in the noise alone, a baseline in the votes alone."""

from __future__ import annotations

import pytest

from sfumato.core.errors import UserError
from sfumato.features.variation import kinds_of
from sfumato.records.defaults import SEAL_STEP
from sfumato.schemes import sealed
from sfumato.studies.training import arms


def _seal(arm: str) -> dict[str, object]:
    scheme, options = arms.resolved(arm)
    assert scheme == "sealed"
    settings = sealed.seal_settings(options, "canny")
    return {name: getattr(settings, name) for name in ("seal_step", "condition_step", "clip", "condition_clip", "bits", "derived")}


def test_the_ceiling_of_sealed_is_sealed_without_the_noise() -> None:
    ceiling, floor = _seal("unsealed"), _seal("sealed")
    assert ceiling["seal_step"] is None and ceiling["condition_step"] is None and floor["seal_step"] == SEAL_STEP
    noise = {"seal_step", "condition_step"}
    assert {k: v for k, v in ceiling.items() if k not in noise} == {k: v for k, v in floor.items() if k not in noise}
    assert arms.resolved("unsealed")[1]["above"] == SEAL_STEP  # and every t lies above where sealed records have theirs
    assert _seal("unsealed-every-t") == ceiling and "above" not in arms.resolved("unsealed-every-t")[1]


@pytest.mark.parametrize(
    ("arm", "clear", "above"), [("sealed-clear-condition", "condition_step", None), ("sealed-clear-picture", "seal_step", SEAL_STEP)]
)
def test_ablations_of_the_noise_leave_out_one_of_the_two(arm: str, clear: str, above: int | None) -> None:
    changed = {name for name, value in _seal(arm).items() if value != _seal("sealed")[name]}
    assert changed == {clear} and _seal(arm)[clear] is None and arms.resolved(arm)[1].get("above") == above


@pytest.mark.parametrize("arm", [name for name in arms.KNOWN if name.endswith("-varied") and name.removesuffix("-varied") in arms.KNOWN])
def test_what_is_varied_is_its_own_arm_in_variations(arm: str) -> None:
    scheme, options = arms.resolved(arm)
    plain = arms.resolved(arm.removesuffix("-varied"))
    assert kinds_of(options.pop("vary")) and scheme == plain[0]
    if arm != "public-varied":  # which is of more styles, too, as public-styles is
        assert (scheme, options) == plain
    else:
        assert (scheme, options) == arms.resolved("public-styles")


def test_votes_are_compared_with_no_votes() -> None:
    assert arms.resolved("unvoted") == ("private_evolution", {"votes": "none"}) and arms.resolved("private_evolution")[1] == {}


def test_options_of_a_word_come_after_the_arms_own_and_change_no_table() -> None:
    assert arms.resolved("unsealed:above=300")[1] == {"seal_step": None, "condition_step": None, "above": 300}
    assert arms.resolved("unsealed")[1]["above"] == SEAL_STEP
    assert arms.resolved("private_evolution:epsilon=0.5,rounds=3") == ("private_evolution", {"epsilon": 0.5, "rounds": 3})


def test_names_are_of_one_table_and_unknown_ones_are_refused() -> None:
    assert not set(arms.ARMS) & set(arms.ABLATIONS)
    arms.check_arms(("unsealed", "public-varied", "private_evolution:votes=none", "unvoted"))
    with pytest.raises(UserError, match="unsealed-ever'"):
        arms.check_arms(("unsealed-ever",))


def test_where_a_condition_comes_with_folders_no_arm_has_to_find_one() -> None:
    fitting = set(arms.fitting("given"))
    assert "unsealed" in fitting and not fitting & {"public", "public-varied", "synthetic", "sealed-derived", "private_evolution"}
