"""Throw-away methods go where the recipe says, and the lines that it changes are there."""

import ast
import shutil

import pytest

from tests_support import load_recipe

recipe = load_recipe("files_to_touch")


@pytest.fixture
def tree(tmp_path):
    """The folders of this tree, and of its files those that are changed."""
    for kind, written in recipe.WRITTEN.items():
        for path in (*written, recipe.test_of(next(iter(written)))[0], *(path for path, *_ in recipe.CHANGED.get(kind, ()))):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            if (recipe.ROOT / path).exists():
                shutil.copy2(recipe.ROOT / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize("kind", recipe.WRITTEN)
def test_a_throw_away_is_written_with_its_test_and_is_python(tree, kind):
    before = {path: path.read_text() for path in tree.rglob("*.py")}
    touched = recipe.added(kind, tree)
    after = {path: path.read_text() for path in tree.rglob("*.py")}
    assert {tree / path for path in touched} == {path for path, text in after.items() if before.get(path) != text}
    assert sum(path.startswith("tests/") for path in touched) == 1
    for path in touched:
        assert (recipe.ROOT / path).parent.is_dir(), "tests mirror the rooms"
        ast.parse((tree / path).read_text())


def test_a_line_that_is_not_there_stops_the_count(tree):
    (tree / "src/sfumato/cli/main.py").write_text("")
    with pytest.raises(RuntimeError, match=r"cli/main\.py.* 0 times"):
        recipe.added("command", tree)


def test_a_module_is_tested_where_it_lies():
    path, text = recipe.test_of("src/sfumato/judge/metrics/brightness.py")
    assert path == "tests/judge/metrics/test_brightness.py" and '"sfumato.judge.metrics.brightness"' in text
