from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from sfumato.core.errors import UserError
from sfumato.pictures import avatars, fill50k, store


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Records every rendering that is asked for."""
    calls: list[Any] = []
    real = store._draw
    monkeypatch.setattr(store, "_draw", lambda *a: calls.append(a) or real(*a))
    return calls


def assert_same(one: store.PictureSet, other: store.PictureSet) -> None:
    for field in dataclasses.fields(store.PictureSet):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, field.name


@pytest.mark.parametrize("pool", avatars.POOLS)
def test_holds_the_stream(tmp_path: Path, pool: avatars.Pool) -> None:
    pictures = store.load("open-peeps", pool, 4, seed=5, per_identity=2, cache=tmp_path)
    assert len(pictures) == 4 and pictures.conditions is None
    assert pictures.images.shape == (4, 64, 64, 3) and pictures.images.dtype == np.uint8
    for i in range(4):
        one = avatars.picture("open-peeps", pool, i, seed=5, per_identity=2)
        assert np.array_equal(pictures.images[i], one.image)
        assert (pictures.captions[i], pictures.attributes[i], pictures.identities[i]) == (one.caption, one.attributes, one.identity.key)
    assert pictures.identities[0] == pictures.identities[1] != pictures.identities[2]


def test_fill50k_comes_with_conditions(tmp_path: Path, drawings: list[Any]) -> None:
    drawn, cached = (store.load("fill50k", "public", 3, seed=0, cache=tmp_path) for _ in range(2))
    assert len(drawings) == 1
    assert_same(drawn, cached)
    assert cached.conditions is not None
    for i in range(3):
        one = fill50k.shape(i, seed=0)
        assert np.array_equal(cached.images[i], one.image) and np.array_equal(cached.conditions[i], one.condition)
        assert cached.attributes[i] == {"style": "fill50k", "circle": one.circle, "ground": one.ground}
    assert len(set(cached.identities)) == 3


def test_fill50k_pools_differ(tmp_path: Path) -> None:
    sets = [store.load("fill50k", pool, 3, seed=0, cache=tmp_path) for pool in avatars.POOLS]
    assert len({s.images.tobytes() for s in sets}) == len({key for s in sets for key in s.identities}) / 3 == len(avatars.POOLS)


def test_a_second_call_reads_one_file_that_says_everything(tmp_path: Path, drawings: list[Any]) -> None:
    first, second = (store.load("personas", "held_out", 3, seed=2, cache=tmp_path) for _ in range(2))
    assert len(drawings) == 1
    assert_same(first, second)
    (path,) = tmp_path.iterdir()  # no temporary file is left
    assert path.name == f"personas-held_out-3-seed2-per1-v{store.CACHE_VERSION}.safetensors"
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["sfumato"])
    assert header["captions"] == first.captions and header["arguments"]["pool"] == "held_out"


def test_a_cached_set_may_be_written_to_like_a_fresh_one(tmp_path: Path) -> None:
    for _ in range(2):
        store.load("big-ears", "public", 1, seed=0, cache=tmp_path).images[0] = 0


def test_every_argument_has_a_file_of_its_own(tmp_path: Path) -> None:
    store.load("adventurer", "public", 1, seed=0, cache=tmp_path)
    store.load("adventurer", "public", 2, seed=0, cache=tmp_path)
    store.load("adventurer", "public", 2, seed=1, cache=tmp_path)
    store.load("adventurer", "public", 2, seed=0, per_identity=2, cache=tmp_path)
    store.load("adventurer", "recombined", 2, seed=0, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def flip_a_pixel(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not safetensors at all",
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        flip_a_pixel,
        lambda data: data.replace(b"sfumato", b"sfumata", 1),  # no header of ours
        lambda data: data.replace(b"captions", b"capti0ns", 1),
        lambda data: data.replace(b"held_out", b"recombin", 1),  # other arguments
        lambda data: data.replace(b"dicebear-styles", b"dicebear-stylez", 1),  # drawn by something else
    ],
)
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, drawings: list[Any], damage: Any) -> None:
    first = store.load("open-peeps", "held_out", 2, seed=0, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    assert damage(whole) != whole
    path.write_bytes(damage(whole))
    assert_same(first, store.load("open-peeps", "held_out", 2, seed=0, cache=tmp_path))
    assert len(drawings) == 2
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    assert len(store.load("open-peeps", "public", 1, seed=0, cache=blocked)) == 1
    assert "not kept" in caplog.text


def test_the_default_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "named"))
    store.load("open-peeps", "public", 1, seed=0)
    assert len(list((tmp_path / "named").iterdir())) == 1
    monkeypatch.delenv("SFUMATO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.default_cache() == tmp_path / ".cache" / "sfumato"


@pytest.mark.parametrize(
    ("style", "pool", "count", "per_identity", "says"),
    [
        ("../../etc", "public", 1, 1, "open-peeps.*fill50k"),
        ("personas", "private", 1, 1, "unseen_part"),
        ("fill50k", "private", 1, 1, "unseen_part"),
        ("personas", "public", 0, 1, "from 1 up"),
        ("personas", "public", 1, 0, "from 1 up"),
        ("fill50k", "public", 4, 2, "no identity"),
    ],
)
def test_bad_arguments_are_answered(tmp_path: Path, style: str, pool: str, count: int, per_identity: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        store.load(style, pool, count, seed=0, per_identity=per_identity, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_set_is_consistent() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    row: dict[str, Any] = {"captions": ["", ""], "attributes": [{}, {}], "identities": ["a", "b"]}
    assert len(store.PictureSet(images=images, **row)) == 2
    for wrong in ({"images": images[0]}, {"images": images / 1.0}, {"captions": [""]}, {"conditions": images[:1]}):
        with pytest.raises(ValueError):
            store.PictureSet(**({"images": images, **row} | wrong))


def test_distinct_people_are_distinct_and_belong_to_nobody_elses_stream():
    kept = store.distinct("open-peeps", "unseen_part", 6, 3, seed=1, purpose="one", keep=lambda key: "medium" not in key)
    assert len(kept) == 18 and len(set(kept.identities)) == 6 and kept.identities[::3] == kept.identities[2::3]
    assert len({image.tobytes() for image in kept.images}) == 18 and not any("medium" in key for key in kept.identities)
    again = store.distinct("open-peeps", "unseen_part", 6, 3, seed=1, purpose="one", keep=lambda key: "medium" not in key)
    other = store.distinct("open-peeps", "unseen_part", 6, 3, seed=1, purpose="two")
    assert np.array_equal(kept.images, again.images) and not np.array_equal(kept.images, other.images)
    with pytest.raises(UserError, match="gave 0 different people"):
        store.distinct("open-peeps", "recombined", 2, 1, seed=0, purpose="none", keep=lambda key: False)


def test_distinct_people_are_drawn_once(tmp_path, monkeypatch):
    drawn, draw = [], store.avatars.draw_picture
    monkeypatch.setattr(store.avatars, "draw_picture", lambda person, rng: drawn.append(person.key) or draw(person, rng=rng))

    def ask(**how):
        arguments = {"people": 2, "pictures": 2, "seed": 1, "purpose": "one", "cache": tmp_path} | how
        return store.distinct("open-peeps", "unseen_part", **arguments)

    first = ask()
    assert_same(first, ask())
    assert len(drawn) == 4 and len(list(tmp_path.iterdir())) == 1
    for how in ({"people": 4, "pictures": 1}, {"purpose": "two"}, {"seed": 2}, {"keep": lambda key: key != first.identities[0]}):
        ask(**how)
    assert len(drawn) == 20 and len(list(tmp_path.iterdir())) == 5
