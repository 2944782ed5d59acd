"""A comparison run small: every arm has every figure, a second run does only what is missing, and no number stands without its terms."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from sfumato.core.errors import UserError
from sfumato.server import generate
from sfumato.studies.training import compare
from sfumato.studies.training.compare import CompareConfig
from tests_support import few_steps, owners_here

CONFIG = CompareConfig(domains=("own", "shifted"), arms=("public", "oneway", "sealed"), pictures=4, conditions=4, steps=2, batch=4)


@pytest.fixture(scope="module")
def small():
    """Fewer pictures for probes, fewer steps to be timed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "choose_precision", lambda: "no")
        few_steps(patch, generate)
        owners_here(patch)
        measure, load = compare.step_time.measure, compare.store.load
        patch.setattr(compare.step_time, "measure", lambda base, **how: measure(base, batch=2, rounds=1, steps=1))
        patch.setattr(compare.store, "load", lambda style, pool, n, **how: load(style, pool, min(n, 60), **how))
        yield patch


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    return out, compare.run(CONFIG, out)


def test_every_arm_has_every_figure(run):
    out, figures = run
    for domain in ("schemes", "shifted"):
        assert set(figures[domain]) == {"no_control", "public", "oneway", "sealed"}
        for name, row in figures[domain].items():
            assert {"mean", "low", "high", "n"} <= set(row["adherence"]) and {"background", "skin", "hair"} == set(row["prompt_agreement"])
            private = name in ("oneway", "sealed")
            assert (row["private_pictures"] == 8) == private == (row["bytes_up_per_picture"] > 0) == (row["owner_peak_bytes"] > 0)
            assert (row["server_seconds_per_step"] is None) == (name == "no_control")
    assert figures["schemes"]["oneway"]["online"] and not figures["schemes"]["sealed"]["online"]
    assert {"oneway", "sealed", "fedavg"} <= set(figures["sd15"]) and figures["speed"]["server_ratio"] > 0
    for name in ("compare.html", "compare.json", "compare-own.png", "compare-shifted.png"):
        assert (out / name).stat().st_size > 1000
    page = (out / "compare.html").read_text()
    assert "eps travels" in page and "no owner takes part" in page


def test_a_scheme_that_gives_everything_away_has_no_number(run):
    for name, row in run[1]["schemes"].items():
        for entry in row["epsilon"].values():
            assert {"unit", "relation", "clip", "releases", "guarantee"} <= set(entry)
            near = "latent distance" in entry["unit"]
            assert ("epsilon" in entry) == (name == "sealed" and near)  # no clip was asked for: only near pictures are bounded


def test_nothing_runs_twice_and_other_settings_are_refused(run, small):
    out, figures = run
    kept = dict(figures["runs"])
    saved = json.loads((out / "compare.json").read_text())
    del saved["runs"]["own/public/0"]
    (out / "compare.json").write_text(json.dumps(saved))
    trained, train = [], compare._train
    small.setattr(compare, "_train", lambda place, name, *rest: trained.append(name) or train(place, name, *rest))
    again = compare.run(CONFIG, out)
    assert trained == ["public"] and again["runs"]["own/oneway/0"] == kept["own/oneway/0"]
    fewer = compare.run(replace(CONFIG, arms=("public",), domains=("own",)), out)
    assert fewer["schemes"] == again["schemes"] and fewer["shifted"] == again["shifted"]  # what ran in an earlier call stays
    assert fewer["seeds"] == again["seeds"]
    with pytest.raises(UserError, match="other settings"):
        compare.run(CompareConfig(steps=3, arms=("sealed",)), out)
    (out / "compare.json").write_text("[]")
    with pytest.raises(UserError, match="other settings"):
        compare.run(CONFIG, out)


@pytest.mark.parametrize(("wrong", "message"), [({"domains": ("mars",)}, "domain 'mars'"), ({"arms": ("magic",)}, "scheme 'magic'")])
def test_unknown_names_are_answered_with_the_known(wrong, message):
    with pytest.raises(UserError, match=message) as error:
        CompareConfig(**wrong)
    assert "own" in error.value.expected or "sealed" in error.value.expected


def test_later_seeds_are_judged_on_fewer_conditions(tmp_path, monkeypatch):
    seen = []

    def domain(todo, name, seed, base, config, *rest):
        seen.append((seed, config.conditions, config.frechet))
        if seed == 2:
            raise InterruptedError

    monkeypatch.setattr(compare, "_domain", domain)
    config = compare.CompareConfig(domains=("own",), arms=("public",), conditions=900, again=64, seeds=(1, 2), frechet=True)
    with pytest.raises(InterruptedError):
        compare.run(config, tmp_path)
    assert seen == [(1, 900, True), (2, 64, False)]


def test_somebodys_own_folders_are_compared_in_private_by_their_own_conditions(small, make_folder, tmp_path):
    folders = (make_folder("a", count=12), make_folder("b", count=12, seed=1))
    for path in (path for folder in folders for path in list(folder.glob("*.png"))):
        with Image.open(path) as image:
            ImageOps.invert(image).save(path.with_name(f"c-{path.name}"))
    for folder in folders:
        names = [f"secret-{i}.png" for i in range(12)]
        rows = [json.dumps({"file_name": name, "conditioning_image_file_name": f"c-{name}"}) for name in names]
        (folder / "metadata.jsonl").write_text("\n".join(rows))
    size = {"pictures": 8, "conditions": 4, "steps": 2, "batch": 4, "seeds": (3,), "condition": "given"}
    config = CompareConfig(domains=("yours",), folders=folders, arms=("sealed",), **size)
    out = tmp_path / "out"
    figures = compare.run(config, out)
    assert set(figures["yours"]) == {"no_control", "sealed"} and "schemes" not in figures
    assert figures["yours"]["sealed"]["private_pictures"] == 16 and figures["yours"]["sealed"]["adherence"]["n"] == 4
    sizes = {name: value for name, value in figures["folders"].items() if name != "notes"}
    assert (
        sizes == {"owners": 2, "pictures": 16, "aside": 4}
        and "folders' own" in figures["folders"]["notes"][0]
        and set(figures["runs"]) == {f"yours/{name}/3" for name in figures["yours"]}
    )
    assert "next to nothing is learned" in figures["few"] and "next to nothing is learned" in (out / "compare.html").read_text()
    shown = np.load(out / "yours-condition-3.npy")
    assert np.array_equal(shown, 255 - np.load(out / "yours-real-3.npy"))  # and no edges that were found
    kept = [path for path in out.rglob("*") if path.is_file()]
    assert kept and all(path.stat().st_mode & 0o077 == 0 for path in (out, *kept)) and not (out / "work").exists()
    assert str(tmp_path) not in (out / "compare.json").read_text()
    (folders[0] / "metadata.jsonl").write_text("\n".join(rows[1:]))
    with pytest.raises(UserError, match="other settings"):  # other pictures
        compare.run(config, out)


@pytest.mark.parametrize("wrong", [{"domains": ("yours",)}, {"folders": ("x",)}, {"steps": 0}, {"seeds": (-1,)}])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(UserError):
        CompareConfig(**wrong)


def test_few_steps_are_said_to_be_few():
    sizes = {name: compare.few(CompareConfig(**size)) for name, size in compare.SIZES.items()}
    assert "80 steps" in sizes["quick"] and sizes["default"] == sizes["full"] == ""
