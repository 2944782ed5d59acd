"""Committed figures: each names its command, has its interval and n, and is the one that the pages show."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from sfumato.attacker.records import base as attacks
from sfumato.diffusion.base import load_base
from sfumato.diffusion.shapes import sd15
from sfumato.records import presets
from sfumato.studies import frontier
from sfumato.studies.training import footprint
from tests_support import load_recipe

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FIGURES = sorted(DOCS.glob("*.json"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
VICTIMS = {  # studies of people, each of whom is trained for; others have 64 pictures or more
    "weights.json": 100, "weights_first.json": 50, "weights_odd.json": 20, "weights_noprior.json": 20,
}  # fmt: skip


def read(name):
    return json.loads((DOCS / name).read_text())


def test_every_page_shows_the_figures_of_today():
    recipe = load_recipe("docs_figures")
    stale = [page.name for page in recipe.pages() if recipe.filled(page.read_text(), page) != page.read_text()]
    assert not stale, "python recipes/docs_figures.py fills them in"


def test_every_results_page_names_a_command_for_its_figures():
    for page in (DOCS / "results").glob("*.md"):
        assert page.name == "index.md" or "<!-- table: made " in page.read_text(), page.name


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_every_figure_names_the_command_that_makes_it_again(path):
    command = json.loads(path.read_text())["command"]
    script = re.search(r"(recipes|benchmarks)/\w+\.py", command)
    assert command.startswith("sfumato ") or (script and (ROOT / script[0]).exists())


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_every_mean_has_its_interval_and_its_n(path):
    least = VICTIMS.get(path.name, 64)

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("mean"), float):
                assert value["low"] - 1e-9 <= value["mean"] <= value["high"] + 1e-9
                assert value["n"] >= least
            for name, inner in value.items():
                if name != "gradient_matching":  # tried on some of the victims, and its n says so
                    walk(inner)

    walk(json.loads(path.read_text()))


def test_the_demos_stay_within_what_a_small_machine_has():
    figures, full = read("demo.json"), read("demo_full.json")
    assert figures["seconds"] <= 240 and max(figures["owner_peak_bytes"], figures["server_peak_bytes"]) <= 3e9
    assert full["ratio"]["mean"] >= 0.9 and full["ratio"]["low"] >= 0.8 and full["adherence"]["centralised"]["mean"] >= 0.5


def test_the_condition_itself_is_best_shown_at_generation():
    arms = read("sweep.json")["arms"]
    assert all(arms[f"n=600 m={m}"]["shown_c"]["ratio"]["low"] > 1 for m in (200, 400, 600))


def test_the_long_comparison_judged_every_arm_on_as_much():
    for place, run in read("compare_full.json")["runs"].items():
        first = place.endswith("/0")
        assert run["adherence"]["n"] == (1000 if first else 200), place
        assert not first or run["fd_efflite0"]["n"] == 1000, place


def test_the_card_is_made_of_the_figures():
    evaluation = load_recipe("evaluate_tiny_base")
    base = ROOT / "src/sfumato/assets/tiny"
    figures, trained = read("tiny_base.json"), json.loads((base / "training.json").read_text())
    assert (base / "README.md").read_text() == evaluation.card(figures, trained)
    assert figures["bars"] == evaluation.BARS


def test_the_table_at_sd_size_is_what_the_shapes_give():
    found, shapes = read("sd15.json"), sd15()
    assert found["shapes"] == asdict(shapes)
    assert found["schemes"] == json.loads(json.dumps(footprint.table(shapes, pictures=found["pictures_of_an_owner"])))


def test_a_step_on_records_is_faster_than_one_on_pictures():
    assert min(read("compare.json")["speed"]["server_ratio"], read("server_step_sd15.json")["server_ratio"]) >= 1.3


def test_one_way_records_are_solved_in_closed_form_and_sealed_ones_are_not():
    figures = read("matrix.json")
    solved = [name for name in figures["matrix"] if name == "oneway" or name.startswith("oneway:t_min=")]
    assert len(solved) >= 7
    for scheme in solved:
        for pool, kept in figures["matrix"][scheme]["algebraic"]["pools"].items():
            assert kept["targets"]["picture"]["beside"]["latent error"] <= 1e-3
            assert kept["targets"]["person"]["score"] == pytest.approx(figures["ceiling"][pool]["person"]["score"], abs=0.02)
    for scheme in ("sealed", "sealed-derived"):
        pools = (figures["matrix"][scheme][name]["pools"]["recombined"] for name in ("algebraic", "linear_mmse"))
        algebraic, estimate = (found["targets"]["picture"]["beside"]["latent error"] for found in pools)
        assert algebraic > estimate


def test_people_were_pooled_from_as_many_records_as_the_pages_say():
    for scheme in ("sealed", "sealed-derived"):
        found = read("matrix.json")["cells"][f"{scheme}/pooling:records"]
        assert found["budget"]["records of a person"] == 5 and found["pools"]["recombined"]["person"]["n"] == 1000


def test_twice_the_effort_is_of_the_same_settings_and_schemes():
    quick, full = read("matrix.json"), read("matrix_full.json")
    assert full["settings"] == {**quick["settings"], "effort": "full"}
    assert set(full["matrix"]) <= set(quick["matrix"]) and len(full["matrix"]) == 7
    assert set(full["cells"]) <= {f"{scheme}/{row}" for scheme in full["matrix"] for row in attacks.rows()}


def test_no_point_of_the_frontier_lacks_an_attack_and_no_level_is_called_met():
    figures = read("frontier.json")
    assert not any(found["failed"] for found in figures["points"].values())
    assert not any(found["met"] for found in figures["presets"].values())  # README and seal say so


def test_presets_that_ship_are_those_that_were_measured(tmp_path, monkeypatch):
    figures, base = read("frontier.json"), load_base()
    assert figures["base"] == base.fingerprint and figures["latent"] == list(base.latent_shape)
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path))
    shipped = presets.known(base.fingerprint, base.latent_shape)
    frontier.install(figures)
    assert presets.path_of(base.fingerprint).exists() and presets.known(base.fingerprint, base.latent_shape) == shipped != {}


@pytest.mark.parametrize("file", VICTIMS)
def test_shared_weights_were_attacked_where_the_gate_was_passed(file):
    assert read(file)["gate"]["passed"]


def test_the_line_up_by_the_adapter_itself_adds_up():
    figures = read("weights_lineup.json")
    for one in ({"all": figures["all"], "ranks": figures["ranks"]}, *figures["others"].values()):
        ranks = [rank for people in one["ranks"].values() for rank in people.values()]
        assert one["all"]["n"] == len(ranks) and one["all"]["top1"] == sum(rank == 1 for rank in ranks) / len(ranks)
        assert one["all"]["top5"] == sum(rank <= 5 for rank in ranks) / len(ranks)


def test_the_published_encoder_reads_nothing_of_people_that_it_has_not_seen():
    found = read("weights_encoders.json")["attackers"]
    assert all(abs(own / other - 1) < 0.02 for _, _, own, other in found["hypernet"]["curve"])
    best = min(found["hypernet-published"]["curve"], key=lambda one: one[2])
    assert abs(best[2] / best[3] - 1) < 0.001


def test_sd_sized_files_went_through_every_command():
    commands = read("sd15_weights.json")["commands"]
    assert commands["attack-weights run"]["unknown keys"] == []
    assert commands["attack-weights evaluate"]["victims"] == 4 and not commands["attack-weights evaluate"]["gate passed"]


def test_every_file_that_the_pages_name_is_there():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_pages_and_pictures_are_small_enough_to_be_cloned():
    large = [path for pattern in ("matrix*.json", "weights*.json") for path in DOCS.glob(pattern)]
    assert sum(path.stat().st_size for path in DOCS.rglob("*") if path.is_file() and path not in large) <= 4e6
