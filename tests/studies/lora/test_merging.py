"""Merges of one base give it back."""

import pytest

from lora_people_support import SMALL
from sfumato.studies.lora import merging

pytestmark = pytest.mark.usefixtures("few")


def test_merges_give_the_base_back(tiny, victims):
    found = merging.measure(tiny, victims, SMALL)
    errors = found["error, relative to one adapter"]
    assert errors["recovered"] < 0.1 * errors["mean of the merges"] and found["merges"] == 4
