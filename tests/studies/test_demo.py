"""The demo's own parts on a small random base; its numbers are measured by running it."""

import base64
import io

import numpy as np
from PIL import Image

from sfumato.judge.report import pages
from sfumato.studies import demo


def test_bars_are_what_was_measured():
    figures = {"adherence": {"centralised": {"mean": 0.6}}, "ratio": {"mean": 0.85, "low": 0.81}}
    assert [bar["met"] for bar in demo.bars(figures)] == [True, False, True]
    assert demo.bars({"adherence": {}}) == []


def test_contact_sheet_places_every_picture():
    rows = [("a", np.full((3, 64, 64, 3), 255, np.uint8)), ("b", np.zeros((12, 64, 64, 3), np.uint8))]
    sheet = np.asarray(pages.contact_sheet(rows, side=64, columns=10))
    assert sheet.shape == (2 * 88, 10 * 68 + 4, 3)
    assert sheet[20 + 5, 4 + 5].tolist() == [255, 255, 255]
    assert sheet[88 + 20 + 5, 4 + 9 * 68 + 5].tolist() == [0, 0, 0]


def test_pictures_survive_as_text():
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    data = base64.b64decode(pages.data_url(image).split(",")[1])
    with Image.open(io.BytesIO(data)) as back:
        assert np.array_equal(np.asarray(back), np.asarray(image))


def test_pages_escape_what_they_are_given(tmp_path):
    values = dict.fromkeys(("private", "seen", "made"), pages.strips([("<u>", np.zeros((1, 4, 4, 3), np.uint8))])) | {"version": "x"}
    values["verdict"] = {"state": "open", "headline": "<em>", "notes": (), "commands": ()}
    values |= {"owners": ["a"], "records": 1, "seal_step": 1, "condition_step": 1, "bytes_per_picture": 1.0, "guarantee": "none"}
    values |= {
        "level": "<b>",
        "measured": ["<i>"],
        "arms": [],
        "f1": {"shuffled": 0.5, "vae_ceiling": 0.9},
        "bars": [],
        "costs": [],
        "command": "<script>",
    }
    pages.write_page(tmp_path / "page.html", "demo.html", values)
    page = (tmp_path / "page.html").read_text()
    assert (
        all(word in page for word in ("&lt;script&gt;", "&lt;b&gt;", "&lt;i&gt;", "&lt;u&gt;", "&lt;em&gt;"))
        and "No condition left" not in page
    )
    pages.write_page(tmp_path / "page.html", "demo.html", values | {"condition_step": None, "level": None})
    assert "No condition left" in (tmp_path / "page.html").read_text()


def test_private_folders_are_disjoint_people(tmp_path):
    config = demo.DemoConfig(pictures=4)
    folders = [demo._private_folder(owner, tmp_path / owner, config, lambda *a: None) for owner in demo.OWNERS]
    for folder in folders:
        assert len(list(folder.glob("*.png"))) == 4 and (folder / "metadata.jsonl").read_text().count("file_name") == 4
