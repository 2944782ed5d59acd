"""A comparison by a condition: supplied ones are no server's to find, and are judged by the picture that they belong to."""

import numpy as np
import pytest

from sfumato.core.errors import UserError
from sfumato.owner.folder import read_folder
from sfumato.pictures.store import PictureSet
from sfumato.studies.owners import write_folder
from sfumato.studies.training import arms, conditioned, held_out
from sfumato.studies.training.compare import CompareConfig


def pictures(count=3, conditions=True):
    draw = np.random.default_rng(0)
    images = np.kron(draw.integers(0, 255, (count, 4, 4, 3), dtype=np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    names = [str(i) for i in range(count)]
    return PictureSet(
        images=images, captions=names, attributes=[{} for _ in names], identities=names, conditions=255 - images if conditions else None
    )


def test_an_arm_that_would_have_to_find_a_supplied_condition_is_refused(tmp_path):
    given = {"domains": ("yours",), "folders": (tmp_path,), "condition": "given"}
    for arm in ("public", "synthetic", "sealed-derived", "sealed:condition=derived"):
        with pytest.raises(UserError, match="--condition given with") as stop:
            CompareConfig(arms=("sealed", arm), **given)
        assert "canny" in stop.value.fix
    with pytest.raises(UserError, match="without folders"):
        CompareConfig(condition="given", arms=("sealed",))
    assert CompareConfig(arms=arms.fitting("given"), **given).condition == "given"
    assert arms.fitting("scribble") == tuple(arms.ARMS) and CompareConfig(condition="scribble").condition == "scribble"


def test_a_supplied_condition_is_shown_and_the_pictures_edges_are_the_measure(base):
    own = pictures()
    held = held_out.HeldOut.of(base, own, condition="given", seed=0)
    canny = held_out.HeldOut.of(base, own, condition="canny", seed=0)
    assert np.array_equal(held.conditions, own.conditions) and not np.array_equal(held.conditions, canny.conditions)
    assert np.array_equal(held.edges, canny.edges) and held.condition == conditioned.JUDGE
    assert np.array_equal(held.f1_vae, canny.f1_vae)
    with pytest.raises(UserError, match="without the conditions"):
        held_out.HeldOut.of(base, pictures(conditions=False), condition="given", seed=0)


def test_an_owners_folder_brings_its_conditions_where_they_are_asked_for(tmp_path):
    own = pictures()
    listed = read_folder(write_folder(own, tmp_path / "with", conditions=True), size=32, condition="given")
    shown = [listed.pixels(example) for example in listed]
    assert np.array_equal(np.stack([condition for _, condition in shown]), own.conditions)
    assert read_folder(write_folder(own, tmp_path / "without"), size=32, condition="canny").supplied == 0
