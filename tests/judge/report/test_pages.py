"""Names of files, and pictures that are kept for a sheet."""

import numpy as np

from sfumato.judge.report import pages


def test_labels_name_files_on_any_system():
    assert pages.named("oneway:t_min=300,activation=identity") == "oneway_t_min_300_activation_identity"
    assert pages.named("../a b\\c") == ".._a_b_c" and "/" not in pages.named("x/y")


def test_the_first_pictures_are_kept_whole(tmp_path):
    images = np.arange(12 * 2 * 2 * 3, dtype=np.uint8).reshape(12, 2, 2, 3)
    pages.keep(tmp_path / "deep" / "some.npy", images)
    assert (np.load(tmp_path / "deep" / "some.npy") == images[:10]).all()
    sheet = pages.contact_sheet([("a row", images), ("another", images[:1])])
    assert sheet.size == (10 * 100 + 4, 2 * 120) and pages.png(sheet).startswith(b"\x89PNG")
