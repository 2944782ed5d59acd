from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.core.artifact import sha256
from sfumato.diffusion.base import load_codec
from sfumato.features.identity import Head, half
from sfumato.judge.metrics.identity import Gallery
from tests_support import load_recipe

recipe: Any = load_recipe("train_identity_head")
ROOT = Path(__file__).parents[2]


def test_the_whole_recipe_in_small(tmp_path: Path) -> None:
    out, figures = tmp_path / "head.safetensors", tmp_path / "identity.json"
    small = ["--people", "8", "--per-person", "3", "--gallery", "10", "--each", "2", "--steps", "20", "--resamples", "30"]
    recipe.main([*small, "--out", str(out), "--json", str(figures)])
    found, data = json.loads(figures.read_text()), out.read_bytes()
    assert Head.from_bytes(data, name="head").weight.any() and found["head"] == {"sha256": sha256(data), "bytes": len(data)}
    assert found["training"]["people"] == 8 and found["training"]["half"] == 0 and "--people 8" in found["command"]
    for pool in ("recombined", "unseen_part"):
        assert found["pools"][pool]["chance"]["rank_1"] == 0.1
        for name in ("head", "raw_efflite0", "pixels"):
            for which in ("real", "through_vae"):
                row = found["pools"][pool][name][which]
                assert row["auc"]["n"] == 20 and row["people"] == 10
                assert all(row[k]["low"] <= row[k]["high"] for k in ("rank_1", "auc", "accepted_at_1_percent"))


def test_people_are_distinct_and_of_the_half_asked_for() -> None:
    images, keys = recipe.distinct("public", 5, 2, seed=3, halves=(1,))
    assert len(images) == len(keys) == 10 and len(set(keys)) == 5 and all(half(key) == 1 for key in keys)
    assert keys[::2] == keys[1::2] and len({image.tobytes() for image in images}) == 10
    again, _ = recipe.distinct("public", 5, 2, seed=3, halves=(1,))
    assert np.array_equal(again, images)


def test_too_many_people_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe.store, "_DRAWS", 1)
    with pytest.raises(ValueError, match="ask for fewer"):
        recipe.distinct("recombined", 500, 1, seed=0)


def test_the_vae_changes_pictures_a_little() -> None:
    images, _ = recipe.distinct("public", 2, 2, seed=0)
    made = recipe.through_vae(load_codec(), images, batch=3)
    assert made.shape == images.shape and made.dtype == np.uint8
    assert 0 < np.abs(made.astype(int) - images).mean() < 20


def test_figures_agree_with_the_gallery_and_cover_it() -> None:
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((40, 16))
    gallery = Gallery(tuple(f"p{i}" for i in range(40)), rows / np.linalg.norm(rows, axis=1, keepdims=True))
    people = [f"p{i}" for i in range(40) for _ in range(5)]
    probes = np.repeat(gallery.embeddings, 5, axis=0) + 0.4 * draw.standard_normal((200, 16))
    found = recipe.measure(gallery, probes, people, generator=draw, resamples=500)
    assert found["auc"]["mean"] == gallery.auc(probes, people) and found["rank_1"]["mean"] == gallery.reidentify(probes, people)[0].mean()
    for name in ("rank_1", "auc", "accepted_at_1_percent"):
        assert found[name]["low"] < found[name]["mean"] < found[name]["high"], name


def test_pairs_of_planted_and_of_unrelated_pictures() -> None:
    people = [f"p{i}" for i in range(30) for _ in range(4)]
    planted = recipe.pairs(np.repeat(np.eye(30), 4, axis=0) + 1e-3 * np.random.default_rng(0).random((120, 30)), people)
    assert planted == {"rank_1": 1.0, "auc": 1.0, "people": 30, "pictures": 120}
    rows = np.random.default_rng(1).standard_normal((120, 64))
    noise = recipe.pairs(rows / np.linalg.norm(rows, axis=1, keepdims=True), people)
    assert noise["auc"] == pytest.approx(0.5, abs=0.06) and noise["rank_1"] < 0.12


# ---------------------------------------------------------------- what was committed


def test_the_committed_figures_are_of_the_shipped_head() -> None:
    found = json.loads((ROOT / "docs" / "identity.json").read_text())
    data = (ROOT / "src" / "sfumato" / "assets" / "identity.safetensors").read_bytes()
    assert found["head"] == {"sha256": sha256(data), "bytes": len(data)} and len(data) <= 2**20
    assert found["training"]["people"] >= 250 and found["gallery"]["people"] >= 200


@pytest.mark.parametrize("pool", ["recombined", "unseen_part"])
def test_the_committed_figures_reach_their_floors(pool: str) -> None:
    rows = json.loads((ROOT / "docs" / "identity.json").read_text())["pools"][pool]
    for which in ("real", "through_vae"):
        head, pixels = rows["head"][which], rows["pixels"][which]
        assert head["auc"]["n"] >= 1000 and head["people"] >= 200
        assert head["auc"]["low"] > 0.95 and head["rank_1"]["low"] > 40 * rows["chance"]["rank_1"]
        assert head["rank_1"]["low"] > pixels["rank_1"]["high"] and head["rank_1"]["low"] > rows["raw_efflite0"][which]["rank_1"]["high"]
