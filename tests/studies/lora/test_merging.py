"""Merges of one base give it back."""

import pytest

from sfumato.adapters import dreambooth
from sfumato.diffusion.base import load_base
from sfumato.studies.lora import merging, people
from sfumato.studies.lora.people import PeopleConfig
from tests_support import few_steps

SMALL = PeopleConfig(public=4, victims=2, each=2, rank=2, steps=2, batch=2, keep=2, together=4)


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few pictures of the class, in few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "CLASS_PICTURES", 2)
        few_steps(patch, dreambooth)
        yield


@pytest.fixture(scope="module")
def victims(tiny, tmp_path_factory):
    return people.train_victims(tiny, SMALL, tmp_path_factory.mktemp("victims"))


def test_merges_give_the_base_back(tiny, victims):
    found = merging.measure(tiny, victims, SMALL)
    errors = found["error, relative to one adapter"]
    assert errors["recovered"] < 0.1 * errors["mean of the merges"] and found["merges"] == 4
