"""The comparison runs on a ControlNet of the shipped base; an untrained one adds nothing, whatever it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.core.artifact import write_json
from sfumato.diffusion.base import load_base
from sfumato.diffusion.controlnet import new_controlnet, save_controlnet
from sfumato.server import generate
from sfumato.server.export import PROVENANCE, work_folder
from tests_support import few_steps, load_recipe


@pytest.fixture
def recipe(monkeypatch: Any) -> Any:
    few_steps(monkeypatch, generate, steps=5)  # the ends 0.4, 0.6 and 0.8 fall on three of them
    return load_recipe("compare_generation")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = load_base()
    settings = {
        "kind": "sfumato-controlnet",
        "condition": "canny",
        "base": {"name": base.public_name, "local": base.is_local, "fingerprint": base.fingerprint, "unet": base.unet_fingerprint},
        "condition_scale": float(base.schedule.alpha(200)),
        "context": "zeros",
        "control_guidance_end": 1.0,
    }
    said = {"owners": [{"settings": {"condition_step": 100}}, {"settings": {"condition_step": 200}}]}
    write_json(work_folder(tmp_path / "net") / PROVENANCE, said)
    save_controlnet(new_controlnet(base, generator=torch.Generator().manual_seed(0)), tmp_path / "net", settings)
    return tmp_path / "net"


def test_an_untrained_controlnet_makes_every_way_the_same(recipe: Any, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    ways = recipe.compare(folder, conditions=2, seed=0)
    assert set(ways) >= {"alpha_m c", "c", "drawn c_m"} and len(ways) == 3 + len(recipe.ENDS)
    for way in ways.values():
        assert way["mean"] == pytest.approx(ways["alpha_m c"]["mean"]) and way["n"] == 2
        assert way["ratio"]["mean"] == pytest.approx(1)


def test_the_ways_differ_once_the_controlnet_acts(recipe: Any, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    from sfumato.diffusion.controlnet import load_latent_controlnet

    model, settings = load_latent_controlnet(folder)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05, generator=draw)
    save_controlnet(model, folder, settings)
    ways = recipe.compare(folder, conditions=2, seed=0)
    assert len({round(way["ssim"], 9) for way in ways.values()}) == len(ways)
