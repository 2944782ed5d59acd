import json
from pathlib import Path

import pytest

from sfumato.accounting import gaussian
from tests_support import load_recipe


def test_the_committed_bounds_are_what_the_recipe_computes():
    recipe = load_recipe("identification")
    committed = json.loads((Path(__file__).parents[2] / "docs" / "identification.json").read_text())
    for name, found in recipe.bounds().items():
        assert committed[name] == pytest.approx(found)
        assert gaussian.epsilon(committed["delta"], found["mu"]) == pytest.approx(float(name.removeprefix("epsilon ")), rel=1e-6)
        for m in recipe.CANDIDATES:
            assert committed["guess"][f"of {m}"] == 1 / m < found[f"of {m}"] < 1
    assert committed["epsilon 1"]["of 200"] < 2.5 * committed["guess"]["of 200"]  # what the README says of epsilon 1
