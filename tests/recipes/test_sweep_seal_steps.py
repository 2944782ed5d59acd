"""The sweep: its records obey the declared law, a second run does only what is missing, and other settings are refused."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.diffusion.base import load_base
from sfumato.diffusion.schedule import CLEAN
from sfumato.records.reader import Records
from sfumato.server import generate
from tests_support import few_steps, load_recipe


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The recipe over two arms of records, its pictures cached for this test alone."""
    module = load_recipe("sweep_seal_steps")
    monkeypatch.setattr(module, "SEAL_STEPS", (None, 600))
    monkeypatch.setattr(module, "CONDITION_STEPS", (200,))
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    few_steps(monkeypatch, generate)
    return module


def test_records_have_the_declared_mean_and_variance(recipe: Any) -> None:
    base = load_base()
    count = 64
    ones = torch.ones(count, 4, 16, 16)
    clean = Records(ones, ones, torch.full((count,), CLEAN), torch.full((count,), CLEAN), (), ())
    made = recipe.sealed(clean, 600, 200, base, 0)
    assert made.n.tolist() == [600] * count and made.m.tolist() == [200] * count
    for latents, step in ((made.z_n, 600), (made.c_m, 200)):
        alpha, sigma = float(base.schedule.alpha(step)), float(base.schedule.sigma(step))
        standard_error = sigma / latents.numel() ** 0.5
        assert float(latents.mean()) == pytest.approx(alpha, abs=5 * standard_error)
        assert float(latents.std()) == pytest.approx(sigma, rel=0.02)
    assert float(torch.corrcoef(torch.stack([made.z_n.flatten(), made.c_m.flatten()]))[0, 1]) == pytest.approx(0, abs=0.02)


def test_unsealed_records_are_the_latents_themselves(recipe: Any) -> None:
    base = load_base()
    z = torch.randn(3, 4, 16, 16)
    clean = Records(z, z, torch.full((3,), CLEAN), torch.full((3,), CLEAN), (), ())
    made = recipe.sealed(clean, None, None, base, 0)
    assert made.n.tolist() == made.m.tolist() == [CLEAN] * 3
    assert torch.equal(made.z_n, z.half().float()) and torch.equal(made.c_m, z.half().float())


def test_every_arm_is_scored_once_and_the_sweep_goes_on_where_it_stopped(recipe: Any, tmp_path: Path) -> None:
    args = Namespace(json=tmp_path / "sweep.json", work=tmp_path / "work", pictures=4, steps=1, conditions=2, seed=0, precision="no")
    recipe.run(args)
    figures = json.loads(args.json.read_text())
    assert set(figures["arms"]) == {"no_control", "centralised", "public", "n=None m=200", "n=600 m=200"}
    assert all(arm["low"] <= arm["mean"] <= arm["high"] and arm["n"] == 2 for arm in figures["arms"].values())

    shown = {name for name, arm in figures["arms"].items() if "shown_c" in arm}
    assert shown == {"n=600 m=200"} and figures["arms"]["n=600 m=200"]["shown_c"]["ratio"]["n"] == 2

    kept = figures["arms"]["public"]
    del figures["arms"]["no_control"]
    args.json.write_text(json.dumps(figures))
    recipe.run(args)
    again = json.loads(args.json.read_text())["arms"]
    assert again["public"] == kept and "no_control" in again  # the seconds, too: it was not run twice

    recipe.plot(args)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    args.steps = 2
    with pytest.raises(SystemExit, match="other settings"):
        recipe.run(args)
