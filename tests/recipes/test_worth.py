"""What private pictures are worth: each task once and in its order, what failed kept apart, a second run of what is missing only."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.studies import spec
from sfumato.studies.training import arms
from tests_support import load_recipe

FAR = 1e12  # seconds: no end


@pytest.fixture(scope="module")
def recipe() -> Any:
    return load_recipe("worth")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "rows").mkdir()
    return tmp_path


@pytest.fixture
def ran(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str]]:
    """The study replaced: what was trained, in order; the arm ``unsealed`` fails."""
    trained: list[tuple[str, int, str]] = []

    class Place:
        @staticmethod
        @contextmanager
        def prepared(domain: str, seed: int, base: Any, config: Any, out: Path, tell: Any, *, connect: Any) -> Any:
            def run(arm: str) -> dict[str, Any]:
                trained.append((domain, seed, arm))
                if arm == "unsealed":
                    raise RuntimeError("no memory")
                return {"adherence": {"mean": 0.5}, "conditions": config.conditions, "frechet": config.frechet}

            yield SimpleNamespace(run=run)

    monkeypatch.setattr(recipe, "Place", Place)
    monkeypatch.setattr(recipe, "load_base", lambda **how: SimpleNamespace(unet=SimpleNamespace(device=SimpleNamespace(type="cpu"))))
    monkeypatch.setenv("WORTH_RUN", "1")
    return trained


def test_every_task_is_there_once_and_is_an_arm_that_there_is(recipe: Any) -> None:
    tasks = recipe.tasks()
    assert len(tasks) == len(set(tasks)) and len({recipe.file_of(Path("x"), task) for task in tasks}) == len(tasks)
    assert all(spec.name_of(arm) == "no_control" or arms.resolved(arm) for _, _, arm in tasks)
    assert {(domain, arm) for domain, seed, arm in tasks if seed == 0} >= {(d, arm) for d in recipe.DOMAINS for arm in recipe.ARMS}
    for seed in (1, 2):
        assert {(domain, arm) for domain, s, arm in tasks if s == seed} == {(d, arm) for d in recipe.DOMAINS for arm in recipe.AGAIN}


def test_ceilings_and_votes_come_before_other_seeds_and_those_before_ablations(recipe: Any) -> None:
    place = {task: number for number, task in enumerate(recipe.tasks())}
    again = [number for (_, seed, _), number in place.items() if seed]
    assert max(place[d, 0, arm] for d in recipe.DOMAINS for arm in recipe.AGAIN) < min(again)
    assert max(again) < place["shifted", 0, "unsealed-varied"] < place["own", 0, "unsealed"]


def test_a_worker_takes_what_nobody_has_and_a_failure_stops_no_other(recipe: Any, out: Path, ran: Any, capsys: Any) -> None:
    done, taken = ("shifted", 0, "sealed"), ("fill50k", 0, "sealed")
    recipe.file_of(out, done).write_text("{}")
    recipe.file_of(out, taken).with_suffix(".taken-1").touch()
    recipe.work(out, 0, FAR)
    assert sorted(ran) == sorted(set(recipe.tasks()) - {done, taken})
    rows = [json.loads(path.read_text()) for path in (out / "rows").glob("*.json") if path != recipe.file_of(out, done)]
    failed = {(one["domain"], one["seed"], one["arm"]) for one in rows if "failed" in one["row"]}
    assert failed == {task for task in ran if task[2] == "unsealed"} and len(rows) == len(ran)
    sizes = {one["seed"]: (one["row"]["conditions"], one["row"]["frechet"]) for one in rows if "failed" not in one["row"]}
    assert sizes == {0: (recipe.CONDITIONS, True), 1: (recipe.AGAIN_BY, False), 2: (recipe.AGAIN_BY, False)}
    before = len(ran)
    recipe.work(out, 1, FAR)
    assert len(ran) == before  # nothing runs twice


def test_two_workers_begin_with_different_domains(recipe: Any, out: Path, ran: Any, tmp_path: Path) -> None:
    first = []
    for number in (0, 1):
        ran.clear()
        (tmp_path / f"w{number}" / "rows").mkdir(parents=True)
        recipe.work(tmp_path / f"w{number}", number, FAR)
        first.append(ran[0][0])
    assert set(first) == set(recipe.DOMAINS)


def test_no_arm_is_begun_that_would_end_too_late(recipe: Any, out: Path, ran: Any) -> None:
    import time

    recipe.work(out, 0, time.time() + recipe.NEEDS - 1)
    assert ran == [] and list((out / "rows").iterdir()) == []


def _row(recipe: Any, out: Path, task: tuple[str, int, str], row: dict[str, Any]) -> None:
    domain, seed, arm = task
    made = {"device": "cpu", "precision": "no", "version": "0", "whole_seconds": 1.0}
    recipe.file_of(out, task).write_text(json.dumps({"domain": domain, "seed": seed, "arm": arm, "row": row, **made}))


def test_what_failed_is_kept_apart_and_named(recipe: Any, out: Path) -> None:
    tasks = [("own", 0, "sealed"), ("shifted", 1, "sealed"), ("fill50k", 0, "unvoted"), ("shifted", 0, "sealed")]
    for number, task in enumerate(tasks):
        _row(recipe, out, task, {"value": number})
    _row(recipe, out, ("fill50k", 0, "sealed"), {"failed": "RuntimeError: no memory"})
    kept = out / "worker-0" / "shifted-0" / "shifted-sealed-0.npy"
    kept.parent.mkdir(parents=True)
    np.save(kept, np.full((8, 16, 16, 3), 90, np.uint8))
    target = out / "docs" / "worth.json"
    target.parent.mkdir()
    recipe.collect(out, target)
    figures = json.loads(target.read_text())
    kept = ["own/sealed/0", "shifted/sealed/1", "fill50k/unvoted/0", "shifted/sealed/0"]
    assert figures["runs"] == {name: {"value": number} for number, name in enumerate(kept)}
    assert figures["failed"] == {"fill50k/sealed/0": "RuntimeError: no memory"} and figures["device"] == ["cpu no"]
    assert target.name in figures["command"] and os.fspath(out) not in target.read_text()
    with Image.open(target.parent / "worth_shifted.png") as sheet:
        assert sheet.width > 16
    assert not (target.parent / "worth_fill50k.png").exists()  # of which there are no pictures
