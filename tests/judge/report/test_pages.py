"""Names of files, and pictures that are kept for a sheet."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sfumato
from sfumato.judge.report import pages

TEMPLATES = Path(pages.__file__).parent / "templates"
SHARED = Path(sfumato.__file__).parent / "assets" / "pages"


def test_labels_name_files_on_any_system():
    assert pages.named("oneway:t_min=300,activation=identity") == "oneway_t_min_300_activation_identity"
    assert pages.named("../a b\\c") == ".._a_b_c" and "/" not in pages.named("x/y")


def test_the_first_pictures_are_kept_whole(tmp_path):
    images = np.arange(12 * 2 * 2 * 3, dtype=np.uint8).reshape(12, 2, 2, 3)
    pages.keep(tmp_path / "deep" / "some.npy", images)
    assert (np.load(tmp_path / "deep" / "some.npy") == images[:10]).all()
    sheet = pages.contact_sheet([("a row", images), ("another", images[:1])])
    assert sheet.size == (10 * 100 + 4, 2 * 120) and pages.png(sheet).startswith(b"\x89PNG")


def test_a_strip_carries_its_label_as_text_and_no_row_of_pictures_is_drawn_with_one():
    images = np.zeros((3, 8, 8, 3), np.uint8)
    (strip,) = pages.strips([("a <row>", images)], side=20)
    drawn = Image.open(io.BytesIO(base64.b64decode(strip.url.partition(",")[2])))
    assert strip.label == "a <row>" and drawn.size == (3 * 24, 20)
    assert set(np.unique(np.asarray(drawn))) == {0, 255}  # the pictures and the gaps: no letters


@pytest.mark.parametrize("page", [*sorted(TEMPLATES.glob("*.html")), SHARED / "audit.html"], ids=lambda path: path.stem)
def test_every_page_can_be_read_in_the_dark_and_on_a_narrow_screen(page):
    """Colours come from one place, which knows both schemes; tables scroll in a box; the verdict stands before everything else."""
    source = page.read_text()
    assert source.startswith('{% extends "base.html" %}') and "<style>" not in source and not re.search(r"color: ?#|background: ?#", source)
    assert source.count("<table") == source.count("{% call scroll(") == source.count("</table>{% endcall %}")
    assert "{% block title %}" in source and "<h1" not in source


def test_the_verdict_stands_first_and_the_page_says_what_it_is():
    base = (SHARED / "base.html").read_text()
    assert '<html lang="en">' in base and "<main>" in base and "width=device-width" in base
    assert base.index("<h1>") < base.index("{{ banner(verdict) }}") < base.index("{% block main %}")


def test_every_colour_has_a_dark_one():
    style = (SHARED / "base.html").read_text()
    light, _, dark = style.partition("prefers-color-scheme: dark")
    names = set(re.findall(r"(--[a-z-]+):", light))
    assert names and names == set(re.findall(r"(--[a-z-]+):", dark.partition("body {")[0]))


def test_a_banner_shows_state_notes_and_commands(tmp_path):
    from jinja2 import Environment, PackageLoader

    parts = Environment(loader=PackageLoader("sfumato", "assets/pages"), autoescape=True).get_template("parts.html").module
    shown = parts.banner({"state": "failed", "headline": "no <upload>", "notes": ["because"], "commands": ["sfumato seal"]})
    assert 'class="banner bad"' in shown and "no &lt;upload&gt;" in shown and "because" in shown and "<code>sfumato seal</code>" in shown
