from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests_support import load_recipe

evaluation: Any = load_recipe("evaluate_tiny_base")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of the tiny base's shape with random weights."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    train: Any = load_recipe("train_tiny_base")
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = train.new_tokenizer([p.caption for p in evaluation.draw("public", 60, seed=0)], folder / "words")
    pipe = StableDiffusionPipeline(
        vae=train.new_vae(), text_encoder=train.new_text_encoder(len(tokenizer)), tokenizer=tokenizer, unet=train.new_unet(),
        scheduler=DDIMScheduler(set_alpha_to_one=False, **train.schedule()), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps({"vae": {"step": 7, "seconds": 60.0}, "pictures": {"open-peeps": 9}, "device": "cpu"}))
    return folder


def test_the_whole_recipe_on_random_weights(base: Path, tmp_path: Path) -> None:
    counts = ["--vae-pictures", "6", "--prompts", "8", "--samples", "12", "--probe-pictures", "40", "--columns", "4"]
    small = ["--steps", "2", "--batch", "6", "--feature-size", "64", "--threads", "1"]
    evaluation.main(["--base", str(base), "--docs", str(tmp_path), *counts, *small])
    figures = json.loads((tmp_path / "tiny_base.json").read_text())
    assert figures["vae_psnr"]["avatars"]["n"] == 6 and figures["prompt_agreement"]["skin"]["generated"]["n"] == 8
    assert figures["frechet"]["generated_vs_real"] > figures["frechet"]["real_vs_real"]
    assert figures["prompt_agreement"]["background"]["real"]["mean"] > 0.9 and "--samples 12" in figures["command"]
    assert not figures["met"]["vae_avatars"]
    with Image.open(tmp_path / "tiny_base.png") as sheet:
        assert sheet.size == (4 * 68 * 2, 3 * 68 * 2)
    card = (base / "README.md").read_text()
    assert "**not met**" in card and "VAE 7 steps, 1 minutes" in card and "LICENSES-PICTURES.md" in card


def test_psnr_is_analytic() -> None:
    images = np.zeros((5, 8, 8, 3), np.uint8)
    figures = evaluation.psnr(images, images + 16, generator=np.random.default_rng(0))
    assert figures["db"] == pytest.approx(20 * np.log10(255 / 16)) == figures["low"]


def test_a_card_without_training_record_says_so() -> None:
    assert "not known" in evaluation._training(None)


def test_bald_people_have_no_hair_colour_to_agree_with() -> None:
    pictures = evaluation.draw("held_out", 64, seed=0)
    stated = evaluation._stated(pictures, "hair")
    assert len(evaluation._stated(pictures, "skin")) == 64
    assert all("hair" in pictures[i].caption for i in stated)
    assert all("bald" in p.caption for i, p in enumerate(pictures) if i not in stated)


def test_counts_are_checked(base: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="at most --samples"):
        evaluation.main(["--base", str(base), "--docs", str(tmp_path), "--prompts", "8", "--samples", "4"])
