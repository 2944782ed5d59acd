"""Sizes are asked of people that were not learned from."""

import pytest

from sfumato.adapters import dreambooth
from sfumato.diffusion.base import load_base
from sfumato.studies.lora import dataset_size, people
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


def test_sizes_are_asked_of_people_that_were_not_learned_from(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_size, "SIZES", (1, 2))
    found = dataset_size.measure(tiny, SMALL, tmp_path, known=2, asked=1)
    assert found["n"] == 2 and found["chance"] == 0.5 and 0 <= found["right"] <= 1
    assert len(list(tmp_path.glob("*.json"))) == 6
