"""Figures of the pages: what a marker names stands in it, and a marker that names nothing is a mistake."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests_support import load_recipe

FOUND = {
    "a b": {"mean": 0.5, "low": 0.4, "high": 0.61, "n": 9}, "bytes": 2_500_000, "share": 0.256, "command": "sfumato demo --json; echo",
    "n=1 m=2": {"top1": 0.25, "low": 0.1, "high": 0.4},
}  # fmt: skip


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """The recipe, in a project of one page and one file of figures."""
    recipe = load_recipe("docs_figures")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/found.json").write_text(json.dumps(FOUND))
    (tmp_path / "README.md").write_text("A <!-- figure: found.json a b --> old <!-- /figure -->.\n")
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    recipe.read.cache_clear()
    yield recipe
    recipe.read.cache_clear()


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("found.json a b", "0.50 [0.40, 0.61]"),
        ("found.json a b as .1f", "0.5 [0.4, 0.6]"),
        ("found.json a b.mean", "0.50"),
        ("found.json a b.n", "9"),
        ("found.json bytes", "2,500,000"),
        ("found.json bytes / 1e6 as .1f", "2.5"),
        ("found.json n=1 m=2", "0.25 [0.10, 0.40]"),
    ],
)
def test_a_marker_shows_what_it_names(docs, spec, shown):
    assert docs.figure(spec) == shown


@pytest.mark.parametrize("spec", ["found.json", "found.json c", "found.json a b.c", "gone.json a b", "weird"])
def test_a_marker_that_names_no_figure_is_a_mistake(docs, spec):
    with pytest.raises(docs.Stale):
        docs.figure(spec)


def test_a_group_is_no_figure_and_a_table_that_is_none_is_a_mistake(docs):
    (docs.ROOT / "docs/more.json").write_text(json.dumps({"all": FOUND}))
    with pytest.raises(docs.Stale, match="group"):
        docs.figure("more.json all")
    with pytest.raises(docs.Stale, match="no table"):
        docs.filled("<!-- table: nonsense -->\n<!-- /table -->", docs.ROOT / "README.md")
    with pytest.raises(docs.Stale, match="begins a line"):
        docs.filled("a\n<!-- figure: found.json a b --><!-- /figure -->", docs.ROOT / "README.md")


def test_pages_are_filled_in_once_and_then_fresh(docs, capsys):
    assert docs.filled("no marker", docs.ROOT / "README.md") == "no marker"
    for given, code, said in ((["--check"], 1, "stale: README.md"), ([], 0, "filled in: README.md"), (["--check"], 0, "stale: none")):
        with pytest.raises(SystemExit) as ended:
            docs.main(given)
        assert ended.value.code == code and said in capsys.readouterr().out
    assert (docs.ROOT / "README.md").read_text() == "A <!-- figure: found.json a b -->0.50 [0.40, 0.61]<!-- /figure -->.\n"


def test_a_mistake_stops_the_run_and_names_the_page(docs):
    (docs.ROOT / "README.md").write_text("A <!-- figure: found.json c -->1<!-- /figure -->\n")
    with pytest.raises(SystemExit, match=r"README\.md: .*'c'"):
        docs.main([])
    assert "-->1<!--" in (docs.ROOT / "README.md").read_text()


def test_who_made_figures_is_said_with_command_file_and_version(docs):
    page = docs.ROOT / "docs/results/x.md"
    text = docs.filled("<!-- table: made found.json -->\n<!-- /table -->", page)
    assert "| [found.json](../found.json) | `sfumato demo --json`; `echo` | not recorded |" in text
    assert docs.filled(text, page) == text


def test_a_method_without_figures_shows_as_not_measured(monkeypatch):
    from sfumato.studies.training import arms

    recipe = load_recipe("docs_figures")
    monkeypatch.setattr(arms, "ARMS", {**arms.ARMS, "brand_new": ("brand_new", {})})
    for table in ("schemes", "schemes_full"):
        (line,) = (line for line in recipe.TABLES[table]() if line.startswith("| `brand_new` |"))
        assert "not measured" in line
        assert all("not measured" not in line for line in recipe.TABLES[table]() if line.startswith("| `public` |"))


def test_pictures_get_a_palette_where_it_is_smaller(docs):
    noise = np.random.default_rng(0).integers(0, 64, (64, 64, 1), np.uint8)
    many = Image.fromarray(np.concatenate([noise, noise, 255 - noise], -1))
    held = io.BytesIO()
    many.save(held, "png")
    made = docs.small(held.getvalue())
    assert len(made) < len(held.getvalue()) and docs.small(made) == made
    again = np.asarray(Image.open(io.BytesIO(made)).convert("RGB"), int)
    assert again.shape == (64, 64, 3) and np.abs(again - np.asarray(many, int)).mean() < 3
