"""Validation pictures show what is trained on, and the records themselves stay as they are."""

import numpy as np
import torch
from PIL import Image

from sfumato.records.reader import Records
from sfumato.server import validate


def records(count=6, m=100, seed=0):
    draws = torch.Generator().manual_seed(seed)
    z, c = (torch.randn(count, 4, 8, 8, generator=draws) for _ in range(2))
    return Records(z, c, torch.full((count,), 500), torch.full((count,), m), (), ())


def test_conditions_above_and_what_is_made_of_them_below(base, tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "sample", lambda *_, condition, **__: condition)
    validate.saver(records(), base, tmp_path, seed=0, count=3)(None, 7)
    with Image.open(tmp_path / "validation/000007.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (2 * 32, 3 * 32, 3) and np.array_equal(picture[:32], picture[32:])
    assert not list((tmp_path / "validation").glob(".*"))


def test_fewer_records_than_pictures(base, tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "sample", lambda *_, condition, **__: condition)
    validate.saver(records(count=2), base, tmp_path, seed=0, count=6)(None, 1)
    with Image.open(tmp_path / "validation/000001.png") as image:
        assert image.size == (2 * 32, 2 * 32)


def test_the_same_noise_every_time_so_that_only_training_shows(base, tmp_path):
    save = validate.saver(records(), base, tmp_path, seed=0, count=1)
    save(None, 1)
    save(None, 2)
    first, second = ((tmp_path / f"validation/{step:06d}.png").read_bytes() for step in (1, 2))
    assert first == second


def test_validation_shows_every_owner_at_the_level_that_is_trained_on(base, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(validate, "sample", lambda *_, condition, **__: shown.append(condition) or condition)
    a, b = records(count=24, m=100), records(count=24, m=300)
    both = Records(*(torch.cat([getattr(a, f), getattr(b, f)]) for f in ("z_n", "c_m", "n", "m")), (), ())
    validate.saver(both, base, tmp_path, seed=3, count=4)(None, 1)
    level = both.level_conditions(base.schedule, seed=3).c_m
    assert torch.equal(shown[0], level[[0, 15, 31, 47]]) and not torch.equal(level[0], both.c_m[0])
