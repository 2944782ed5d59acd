"""The matrix as it is read: what was effective stands out, what was not run is not taken for safe."""

import numpy as np

from sfumato.judge.report import matrix as report
from sfumato.judge.report import pages
from sfumato.studies.records import matrix


def cell(score, target="picture", **more):
    low, high = score - 0.05, score + 0.05
    return {
        "score": score, "low": low, "high": high, "prior_only": 0.2, "chance": 0.1, "difference": [score - 0.2, low - 0.2, high - 0.2],
        "p": 0.0001 if score > 0.3 else 0.5, "n": 200, "people": 100, **more,
    }  # fmt: skip


def figures():
    cells = {
        "sealed/algebraic": {"outcome": "scored", "pools": {"a": {"picture": cell(0.9)}, "b": {"picture": cell(0.22)}}, "seconds": 1.0},
        "sealed/fsha": {"outcome": "no channel", "why": "no GradientChannel"},
        "sealed/rmle": {"outcome": "failed", "why": "diverged"},
        "sealed/diffusion_prior:mean": {"outcome": "scored", "pools": {"a": {"picture": cell(0.3)}}, "seconds": 1.0},
        "sealed/diffusion_prior:best": {"outcome": "scored", "pools": {"a": {"picture": cell(0.8)}}, "seconds": 1.0},
        "oneway/algebraic": {"outcome": "scored", "pools": {"a": {"picture": cell(0.95)}}, "seconds": 1.0},
    }
    settings = {"people": 100, "pools": ["a", "b"], "each": 2, "public": 9, "effort": "quick"}
    return {
        "settings": settings, "cells": cells, "matrix": matrix.table(cells), "leaks": {"sealed": {"Latents": 1}}, "command": "x",
        "ceiling": {"a": {"picture": cell(0.97)}}, "interval": "95 %", "correction": "Holm",
    }  # fmt: skip


def test_the_best_variant_speaks_for_an_attack_and_all_are_kept():
    entry = figures()["matrix"]["sealed"]["diffusion_prior"]
    assert entry["score"] == 0.8 and set(entry["variants"]) == {"mean", "best"} and entry["target"] == "picture"
    assert figures()["matrix"]["sealed"]["algebraic"]["score"] == 0.9  # of the pool in which it got most


def test_the_table_tells_effective_failed_no_channel_and_not_run_apart(tmp_path):
    report.write(tmp_path, figures())
    lines = (tmp_path / "matrix.md").read_text().split("## ")[1].splitlines()  # what comes first is the picture itself
    rows = {line.split("|")[1].strip(): [part.strip() for part in line.split("|")[2:-1]] for line in lines if line.startswith("| ")}
    assert rows[""] == ["sealed", "oneway"]
    assert rows["algebraic"] == ["**0.900** / 0.220 (0.200)", "**0.950** (0.200)"]
    assert rows["diffusion_prior:best"] == ["**0.800** (0.200)", "not measured"] and rows["rmle"] == ["failed: diverged", "not measured"]
    assert "Ceiling, the true latents decoded: 0.970." in lines
    page = (tmp_path / "matrix.html").read_text()
    assert "GradientChannel" not in page and "send gradients back" in page and "failed: diverged" in page and 'class="bad"' in page


def test_pictures_that_were_kept_are_shown_by_scheme(tmp_path):
    images = np.zeros((3, 8, 8, 3), np.uint8)
    for name in ("truth", "sealed-diffusion_prior:best"):
        pages.keep(tmp_path / "pictures" / f"{pages.named(name)}.npy", images)
    report.write(tmp_path, figures())
    assert (tmp_path / "matrix-sealed.png").exists() and "data:image/png" in (tmp_path / "matrix.html").read_text()
