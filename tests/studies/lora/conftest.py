"""Victims of a small study; who takes them asks for ``few``, too."""

import pytest

from lora_people_support import SMALL
from sfumato.adapters import dreambooth
from sfumato.diffusion.base import load_base
from sfumato.studies.lora import people
from tests_support import few_steps


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module")
def few():
    """Few pictures of the class, in few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "CLASS_PICTURES", 2)
        few_steps(patch, dreambooth)
        yield


@pytest.fixture(scope="module")
def victims(tiny, few, tmp_path_factory):
    return people.train_victims(tiny, SMALL, tmp_path_factory.mktemp("victims"))
