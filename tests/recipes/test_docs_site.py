"""What the site adds to the pages, without MkDocs: links that lead somewhere, every command and option, every public name."""

import inspect
import re
import sys
from types import SimpleNamespace

import click
import pytest
import typer

import sfumato
from sfumato.cli import main as cli
from tests_support import load_recipe


@pytest.fixture(scope="module")
def site():
    return load_recipe("docs_site")


@pytest.fixture(scope="module")
def reference(site):
    return "\n".join(site.commands())


def walk(command, path):
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{path} {name}")


def test_every_command_and_option_is_in_the_reference(reference):
    parts = dict(zip(*[iter(re.split(r"^## (.+)$", reference, flags=re.MULTILINE)[1:])] * 2, strict=True))
    known = dict(walk(typer.main.get_command(cli.app), "sfumato"))
    assert set(parts) == set(known) and len(known) > 12
    for path, command in known.items():
        for one in command.params:
            assert all(f"`{name}`" in parts[path] for name in one.opts if isinstance(one, click.Option) and not one.hidden), path


def test_rows_of_the_reference_are_whole(reference):
    rows = [line for line in reference.splitlines() if line.startswith("|")]
    assert len(rows) > 100 and all(line.count("|") == 5 for line in rows)
    assert any(line.startswith("| `--owner` | text | required |") for line in rows)


def test_every_public_name_is_in_the_python_reference(site):
    named = [line.removeprefix("::: ") for line in site.names() if line.startswith(":::")]
    assert {path.rpartition(".")[2] for path in named} == set(sfumato.__all__) - {"__version__"}
    for path in named:
        module, _, name = path.rpartition(".")
        assert getattr(sfumato, name).__module__ == module or module in sys.modules


@pytest.mark.parametrize(
    ("source", "link", "led"),
    [
        ("results/a.md", "[x](../compare.json)", "[x](../compare.json)"),
        ("results/a.md", "[x](b.md#part)", "[x](b.md#part)"),
        ("howto/a.md", "[how](../../CONTRIBUTING.md#the-check)", "[how](../CONTRIBUTING.md#the-check)"),
        ("index.md", "[log](../CHANGELOG.md)", "[log](CHANGELOG.md)"),
        ("howto/a.md", "[the loop](../../examples/owner_loop.py)", "the loop (`examples/owner_loop.py`)"),
        ("howto/a.md", "[`examples/owner_loop.py`](../../examples/owner_loop.py)", "`examples/owner_loop.py`"),
        ("CONTRIBUTING.md", "[a](docs/results/b.md)", "[a](results/b.md)"),
        ("results/a.md", "![seen](../demo.png)", "![seen](../demo.png)"),
    ],
)
def test_links_lead_to_where_things_are_on_the_site(site, source, link, led):
    assert site.linked(link, source) == led


def test_pages_are_filled_in(site):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="reference/cli.md"))
    assert "## sfumato seal" in site.on_page_markdown("a\n\n<!-- commands -->", page, None, None)
    assert "::: sfumato.api.seal.seal" in site.on_page_markdown("<!-- names -->", page, None, None)
    assert site.on_page_markdown("nothing", page, None, None) == "nothing"


def words(name):
    return inspect.getdoc(getattr(sfumato, name)) or ""


@pytest.mark.parametrize("name", sorted(set(sfumato.__all__) - {"__version__"}))
def test_docstrings_of_the_face_are_what_a_strict_build_takes(name):
    """Griffe wants each parameter on a line of its own, and knows "Examples:": of another word it makes text with links in it."""
    said = words(name)
    assert "Example:" not in said
    if callable(getattr(sfumato, name)) and "Args:" in said:
        section = said.partition("Args:\n")[2].partition("\n\n")[0]
        told = re.findall(r"^    (\S[^:\n]*):", section, flags=re.MULTILINE)
        assert set(told) <= set(inspect.signature(getattr(sfumato, name)).parameters), name
