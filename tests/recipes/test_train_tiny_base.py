"""The base's recipe: it resumes, starts warm with the count going on, and keeps what it is told to keep."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests_support import load_recipe


@pytest.fixture(scope="module")
def recipe() -> Any:
    return load_recipe("train_tiny_base")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    save_file({"images": images}, tmp_path / "pictures.safetensors")
    (tmp_path / "captions.json").write_text(json.dumps(["a red circle", "a blue one"] * 12))
    return tmp_path


def settings(recipe: Any, work: Path, **changes: Any) -> Namespace:
    values = {"work": work, "out": work / "out", "steps": 2, "batch": 6, "lr": None, "warm": None, "decoder_only": False, "seed": 0}
    return Namespace(**{"edges": 0.4} | values | changes)


def trained(work: Path, stage: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(work / f"{stage}.pt", weights_only=True)
    return state


def test_edges_are_white_on_black_where_a_picture_changes(recipe: Any) -> None:
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[:, :, 32:] = 255
    (found,) = recipe.edges(image, generator=np.random.default_rng(0))
    assert set(np.unique(found)) == {0, 255} and found[:, 28:36].any() and not found[:, :28].any() and not found[:, 36:].any()


def test_batches_take_every_picture_once_an_epoch(recipe: Any) -> None:
    stream = recipe.batches(12, 4, generator=np.random.default_rng(0))
    for _ in range(3):
        assert sorted(np.concatenate([next(stream) for _ in range(3)])) == list(range(12))


def test_a_warm_start_takes_weights_and_goes_on_counting(recipe: Any, work: Path) -> None:
    before = json.loads((recipe.ASSETS / "training.json").read_text())["vae"]
    recipe.train_vae(settings(recipe, work, warm=recipe.ASSETS, steps=before["step"] + 1, lr=1e-12))
    state, shipped = trained(work, "vae"), recipe.AutoencoderKL.from_pretrained(recipe.ASSETS, subfolder="vae").state_dict()
    assert state["step"] == before["step"] + 1 and state["first"] == before["step"] and state["seconds"] > before["seconds"]
    assert all(torch.allclose(state["modules"][f"vae.{name}"], value, atol=1e-4) for name, value in shipped.items())


def test_decoder_only_keeps_the_latents(recipe: Any, work: Path) -> None:
    recipe.train_vae(settings(recipe, work, steps=1))
    first = trained(work, "vae")["modules"]
    recipe.train_vae(settings(recipe, work, steps=3, decoder_only=True))
    second = trained(work, "vae")["modules"]
    changed = {name.split(".")[1] for name in first if not torch.equal(first[name], second[name])}
    assert "decoder" in changed and not changed & {"encoder", "quant_conv"}


def test_the_unet_trains_on_and_is_exported_as_a_pipeline(recipe: Any, work: Path) -> None:
    from diffusers import StableDiffusionPipeline

    recipe.train_unet(settings(recipe, work, steps=1))
    first = trained(work, "unet")
    recipe.train_unet(settings(recipe, work, steps=2))
    second = trained(work, "unet")
    assert (first["step"], second["step"], second["first"]) == (1, 2, 1)
    assert any(not torch.equal(first["modules"][name], second["modules"][name]) for name in first["modules"])
    pipe = StableDiffusionPipeline.from_pretrained(work / "out", safety_checker=None)
    assert pipe.unet.config.cross_attention_dim == pipe.text_encoder.config.hidden_size == 128
    latents = recipe.encode(pipe.vae.float(), recipe.load_pictures(work)[0][::20]) * pipe.vae.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, abs=0.01)
    assert json.loads((work / "out/training.json").read_text())["unet"]["step"] == 2
