"""A menu comes from a stranger: it is what it says, or it is refused; and its clusters are those that an owner finds."""

import json

import numpy as np
import pytest
import torch

from sfumato.core.artifact import from_bytes, metadata_of, sha256, to_bytes
from sfumato.core.errors import RecordError
from sfumato.records import menu as menus
from vote_support import COLOURS, menu_bytes, menu_of, picture


def test_what_is_written_is_what_is_read(base, tmp_path):
    data = menu_bytes(base, round=3, owners=2)
    (tmp_path / "m").write_bytes(data)
    menu = menus.read(tmp_path / "m")
    assert (menu.about.round, menu.about.owners, menu.about.network, menu.about.base) == (3, 2, "pixels", base.fingerprint)
    assert len(menu) == len(COLOURS) and menu.digest == sha256(data) and menu.thumbnails.dtype == np.uint8


def test_every_picture_finds_the_cluster_that_it_looks_like(base):
    images = np.stack([picture(k, seed) for seed in range(5) for k in range(4)])
    assert menu_of(base).nearest(menus.embed("pixels", images, base)).tolist() == list(range(4)) * 5


def test_the_sheet_shows_every_thumbnail(base):
    sheet = menu_of(base).sheet()
    assert sheet.dtype == np.uint8
    for colour in COLOURS:
        assert (sheet == colour).all(axis=-1).sum() == menus.SHOWN * menus.SIDE**2


def _changed(data, tensors=None, **about):
    said = json.loads(metadata_of(data)["menu"])
    return to_bytes({**from_bytes(data, name="m"), **(tensors or {})}, {"menu": json.dumps({**said, **about})})


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({}, {"kind": "sfumato-records"}),
        ({}, {"schema": 2}),
        ({}, {"round": 0}),
        ({}, {"round": True}),
        ({}, {"pool": "x"}),
        ({}, {"network": "../there"}),
        ({}, {"base": 5}),
        ({}, {"more": 1}),
        ({"more": torch.zeros(1)}, {}),
        ({"centre": torch.full((192,), torch.nan)}, {}),
        ({"centre": torch.zeros(191)}, {}),
        ({"centre": torch.tensor(0.0)}, {}),
        ({"centroids": torch.zeros(4, 192)}, {}),
        ({"centroids": torch.zeros(1, 192, dtype=torch.float16)}, {}),
        ({"centroids": torch.full((4, 192), torch.inf, dtype=torch.float16)}, {}),
        ({"thumbnails": torch.zeros(4, 3, 8, 8, 3, dtype=torch.uint8)}, {}),
    ],
)
def test_what_is_no_menu_is_refused_by_name(base, tmp_path, tensors, about):
    (tmp_path / "m").write_bytes(_changed(menu_bytes(base), tensors, **about))
    with pytest.raises(RecordError, match=str(tmp_path / "m")):
        menus.read(tmp_path / "m")


@pytest.mark.parametrize("data", [b"", b"{}", b"\x80\x04pickle", menus.KIND.encode() * 100])
def test_what_is_no_file_of_tensors_is_refused(tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(RecordError, match="not a menu"):
        menus.read(tmp_path / "m")


def test_a_menu_of_another_base_or_network_is_refused_and_says_that_no_vote_was_spent(base):
    menus.check_fit(menu_of(base), base, name="m")
    for wrong in ({"base": "0" * 64}, {"network_fingerprint": "0" * 64}):
        with pytest.raises(RecordError, match="no vote was spent"):
            menus.check_fit(menu_of(base, **wrong), base, name="m")
