"""Sizes are asked of people that were not learned from."""

import pytest

from lora_people_support import SMALL
from sfumato.studies.lora import dataset_size

pytestmark = pytest.mark.usefixtures("few")


def test_sizes_are_asked_of_people_that_were_not_learned_from(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_size, "SIZES", (1, 2))
    found = dataset_size.measure(tiny, SMALL, tmp_path, known=2, asked=1)
    assert found["n"] == 2 and found["chance"] == 0.5 and 0 <= found["right"] <= 1
    assert len(list(tmp_path.glob("*.json"))) == 6
