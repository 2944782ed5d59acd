"""What is near and what is far, by the recipe at a small size."""

import json

import numpy as np

from sfumato.diffusion.base import load_codec
from tests_support import load_recipe


def test_it_measures_every_kind(tmp_path):
    recipe = load_recipe("measure_domain")
    found = recipe.run(fitted=24, looked=8)
    (one,) = found.values()
    assert list(found) == [load_codec().fingerprint] and len(one["measured"]) == 1 + len(recipe.BESIDE)
    assert json.loads(json.dumps(found)) == found and np.isfinite(one["precision"]).all()
    for kind in one["measured"].values():
        assert kind["n"] == 8 and 0 < kind["q5"] <= kind["q50"] <= kind["q95"]
        for values, limit in ((kind, one["limit"]), (kind["error"], one["error_limit"])):
            assert 0 <= values["beyond"] <= 1 and (values["q50"] > limit) <= (values["beyond"] >= 0.5)
            assert 0 < values["q5"] <= values["q50"] <= values["q95"] and values["n"] == 8
