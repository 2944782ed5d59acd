"""A comparison run small: every arm has every figure, a second run does only what is missing, and no number stands without its terms."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.judge.report import pages
from sfumato.schemes._wire import Local
from sfumato.server import generate
from sfumato.studies.owners import OWNERS
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
            assert {"share", "accuracy", "colour_distance"} == set(row["style"]) and row["style"]["share"]["n"] == 4
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


VOTES = "private_evolution:network=pixels,count=16,clusters=2,steps=1,rounds=1,epsilon=1000"


def test_a_place_trains_any_arm_and_says_what_votes_guarantee(small, monkeypatch, tmp_path):
    monkeypatch.setattr(compare.judging, "Judge", lambda *given, **how: compare.judging.nothing_more)
    config, told = replace(CONFIG, domains=("own",), arms=(VOTES,), pictures=12), []  # of three people
    with compare.Place.prepared("own", 0, load_base(), config, tmp_path, lambda *said: told.append(said[0]), connect=Local) as place:
        assert place.count == 24 and set(place.folders) == set(OWNERS) and all(folder.is_dir() for folder in place.folders.values())
        row = place.run(VOTES)
        unvoted = place.run(VOTES + ",votes=none")
    assert not (tmp_path / "work").exists() and any("judged" in said for said in told)
    ((unit, said),) = row["epsilon"].items()
    assert unit.startswith("person") and said["epsilon"] == pytest.approx(1000) and said["vacuous"] and row["notes"] == []
    assert row["private_pictures"] == 24 and row["messages_up"] == 2 and 0 < row["bytes_up_per_picture"] < 2000 and not row["online"]
    assert "1,000" in compare._guarantee(row) or "1000" in compare._guarantee(row)
    assert unvoted["epsilon"] == {} and unvoted["bytes_up"] == unvoted["private_pictures"] == 0
    assert compare._guarantee(unvoted) == "nothing private left"
    assert row["adherence"]["n"] == unvoted["adherence"]["n"] == 4
    assert (tmp_path / f"own-{pages.named(VOTES)}-0.npy").exists()


def test_what_an_arm_is_given_is_as_many_pictures_as_owners_have(small, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(compare, "registry", SimpleNamespace(get=lambda room, name: SimpleNamespace(run=given.append)))
    monkeypatch.setattr(compare, "_costs", lambda *a: {})
    place = SimpleNamespace(config=CONFIG, seed=0, count=10, folders={}, base=None, connect=None)
    names = ("public", "public-varied", "synthetic", "synthetic-prompted", "private_evolution", "private_evolution:count=7", "sealed")
    for name in names:
        compare._train(place, name, tmp_path, lambda progress: None)
    one, three, drawn, prompted, pool, less, sealed = (job.options for job in given)
    assert len(one["images"]) == len(one["captions"]) == len(three["images"]) == len(three["captions"]) == 10
    assert three["vary"] == "all" and "styles" not in three and not np.array_equal(one["images"], three["images"])
    assert drawn == {"count": 10} and prompted["count"] == len(prompted["prompts"]) == 10 and "prompted" not in prompted
    assert pool["count"] == compare.POOL and less["count"] == 7 and sealed == {}
    place.count = 1000
    compare._train(place, "private_evolution", tmp_path, lambda progress: None)
    assert given[-1].options["count"] == 1000


def test_few_steps_are_said_to_be_few():
    sizes = {name: compare.few(CompareConfig(**size)) for name, size in compare.SIZES.items()}
    assert "80 steps" in sizes["quick"] and sizes["default"] == sizes["full"] == ""
