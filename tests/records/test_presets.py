"""Presets hold for the base on which they were measured, and for no other."""

import json

import pytest

from sfumato.core.errors import UserError
from sfumato.records import presets

ROW = {"seal_step": 800, "condition_step": 400, "derived": False}


def test_what_was_calibrated_here_is_found_again(home):
    path = presets.save("f" * 64, [4, 16, 16], {"high": ROW}, command="x")
    assert path.is_relative_to(home) and json.loads(path.read_text())["command"] == "x"
    found = presets.find("high", "f" * 64, (4, 16, 16), condition="scribble")
    assert (found.seal_step, found.condition_step, found.derived, found.condition) == (800, 400, False, "scribble")
    presets.save("f" * 64, [4, 16, 16], {"high": {"seal_step": 700, "condition_step": None, "derived": True}}, command="x")
    assert presets.find("high", "f" * 64, (4, 16, 16), condition="canny").derived


@pytest.mark.parametrize(
    ("level", "fingerprint", "latent", "said"),
    [
        ("high", "e" * 64, (4, 16, 16), "carry more signal"),
        ("high", "f" * 64, (4, 64, 64), "no preset 'high'"),
        ("low", "f" * 64, (4, 16, 16), "no preset 'low'"),
        ("extreme", "f" * 64, (4, 16, 16), "low, medium, high"),
    ],
)
def test_elsewhere_there_are_none(home, level, fingerprint, latent, said):
    presets.save("f" * 64, [4, 16, 16], {"high": ROW}, command="x")
    with pytest.raises(UserError, match=said):
        presets.find(level, fingerprint, latent, condition="canny")
