from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import sfumato
from sfumato.core import artifact
from sfumato.core.errors import UserError
from sfumato.judge.metrics.identity import MINIMUM, Gallery, judges
from sfumato.pictures import avatars

G, D = 200, 48
NAMES = tuple(f"person {i}" for i in range(G))


def _gallery(seed: int = 0) -> Gallery:
    rows = np.random.default_rng(seed).standard_normal((G, D))
    return Gallery(NAMES, rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64) - 127.5


def _pictures(people: int, each: int) -> tuple[np.ndarray, list[str]]:
    images = np.random.default_rng(0).integers(0, 256, (people * each, 4, 4, 3), dtype=np.uint8)
    return images, [f"p{i // each}" for i in range(people * each)]


def test_planted_people_are_recovered_exactly_at_any_length() -> None:
    gallery = _gallery()
    probes = gallery.embeddings * np.random.default_rng(1).uniform(0.01, 100, (G, 1))
    before = probes.copy()
    hit, rank = gallery.reidentify(probes, NAMES)
    assert hit.all() and hit.dtype == bool and (rank == 1).all()
    assert gallery.auc(probes, NAMES) == 1 == gallery.accepted(probes, NAMES)
    assert np.array_equal(probes, before)


def test_noise_is_chance() -> None:
    gallery = _gallery()
    who = [NAMES[i] for i in np.random.default_rng(2).integers(G, size=8000)]
    probes = np.random.default_rng(3).standard_normal((8000, D))
    hit, rank = gallery.reidentify(probes, who)
    assert gallery.chance == 1 / G and hit.mean() == pytest.approx(gallery.chance, abs=0.003)
    assert rank.mean() == pytest.approx((G + 1) / 2, abs=2) and rank.min() >= 1 and rank.max() <= G
    assert gallery.auc(probes, who) == pytest.approx(0.5, abs=0.01)
    assert gallery.accepted(probes, who) == pytest.approx(0.01, abs=0.004)


def test_more_noise_is_worse() -> None:
    gallery, noise = _gallery(), np.random.default_rng(4).standard_normal((G, D))
    found = []
    for scale in (0.05, 0.2, 0.4, 0.8, 3.0):
        probes = gallery.embeddings + scale * noise
        found.append((gallery.reidentify(probes, NAMES)[0].mean(), gallery.auc(probes, NAMES), gallery.accepted(probes, NAMES)))
    assert all(a >= b for one, two in pairwise(found) for a, b in zip(one, two, strict=True))
    assert found[0][0] > 0.99 > 0.1 > found[-1][0]


def test_auc_against_a_hand_worked_case_with_ties() -> None:
    gallery = Gallery(("a", "b"), np.eye(2))
    probes = np.array([[3.0, 4.0], [1.0, 1.0]])
    # genuine: a 0.6, b 0.707; impostors: 0.8 and 0.707. Pairs won: none, 0; none, half of one.
    assert gallery.auc(probes, ["a", "b"]) == pytest.approx(0.5 / 4)
    assert gallery.reidentify(probes, ["a", "b"])[1].tolist() == [2, 2]


def test_auc_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    gallery = _gallery()
    probes = gallery.embeddings[:40] + 0.5 * np.random.default_rng(5).standard_normal((40, D))
    similar = gallery.similarities(probes)
    assert gallery.auc(probes, NAMES[:40]) == pytest.approx(roc_auc_score(np.eye(40, G).ravel(), similar.ravel()))


def test_guesses_that_know_of_nobody_get_no_more_than_chance_where_all_are_looked_for() -> None:
    gallery = _gallery()
    lucky = gallery.embeddings[np.zeros(G, int)]  # one and the same person, again and again
    assert gallery.guessed(lucky, NAMES) == pytest.approx(gallery.chance)
    noise = np.random.default_rng(3).standard_normal((G, D))
    assert gallery.guessed(noise, NAMES) == pytest.approx(gallery.chance)
    assert gallery.guessed(np.zeros((G, D)), NAMES) == 0
    few = [NAMES[0]] * 6 + [NAMES[1]] * 2  # where few are looked for, whom the guesses are like does matter
    assert gallery.guessed(gallery.embeddings[[0, 0, 0, 0, 5, 5, 5, 1]], few) == pytest.approx((6 * 0.5 + 2 * 0.125) / 8)


def test_a_guess_that_says_nothing_is_no_hit() -> None:
    hit, rank = _gallery().reidentify(np.zeros((3, D)), NAMES[:3])
    assert not hit.any() and (rank == G).all()


def test_a_person_is_the_mean_of_their_pictures() -> None:
    images, people = _pictures(5, 3)
    gallery = Gallery.of(images, people, embed=_flat, minimum=5)
    rows = _flat(images) / np.linalg.norm(_flat(images), axis=1, keepdims=True)
    mean = rows.reshape(5, 3, -1).mean(axis=1)
    assert gallery.identities == ("p0", "p1", "p2", "p3", "p4")
    assert gallery.embeddings == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True))
    shuffled = np.random.default_rng(0).permutation(15)
    mixed = Gallery.of(images[shuffled], [people[i] for i in shuffled], embed=_flat, minimum=5)
    assert mixed.similarities(rows)[:, mixed.identities.index("p3")] == pytest.approx(gallery.similarities(rows)[:, 3])


def test_the_judges_head_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.judge.metrics import identity as module

    class Fake:
        embed = staticmethod(_flat)

    monkeypatch.setattr(module, "judges", lambda: Fake())
    images, people = _pictures(MINIMUM, 1)
    assert np.array_equal(Gallery.of(images, people).embeddings, Gallery.of(images, people, embed=_flat).embeddings)


def test_bad_galleries_are_refused() -> None:
    images, people = _pictures(MINIMUM, 1)
    with pytest.raises(UserError, match="gallery of 199 people"):
        Gallery.of(images[1:], people[1:], embed=_flat)
    with pytest.raises(UserError, match="200 pictures, 199 identities"):
        Gallery.of(images, people[1:], embed=_flat)
    twice = images.copy()
    twice[7] = twice[8]
    with pytest.raises(UserError, match="picture is in the gallery twice"):
        Gallery.of(twice, people, embed=_flat)
    with pytest.raises(UserError, match="'a' is in the gallery twice"):
        Gallery(("a", "b", "a"), np.eye(3))
    with pytest.raises(UserError, match="G at least 2"):
        Gallery(("a", "b"), np.eye(3))


def test_bad_probes_are_refused() -> None:
    gallery = _gallery()
    with pytest.raises(UserError, match="'stranger' is not in the gallery"):
        gallery.reidentify(gallery.embeddings[:2], ["person 0", "stranger"])
    with pytest.raises(UserError, match="2 probes, 1 identities"):
        gallery.auc(gallery.embeddings[:2], ["person 0"])
    with pytest.raises(UserError, match="0 probes"):
        gallery.reidentify(gallery.embeddings[:0], [])
    with pytest.raises(UserError, match=f"N, {D}"):
        gallery.reidentify(gallery.embeddings[:2, 1:], NAMES[:2])
    with pytest.raises(UserError, match="not finite"):
        gallery.reidentify(np.full((1, D), np.nan), NAMES[:1])
    with pytest.raises(UserError, match="false_rate 0"):
        gallery.accepted(gallery.embeddings, NAMES, false_rate=0)


def test_the_shipped_head_is_small_and_says_what_it_saw() -> None:
    data = (Path(sfumato.__file__).parent / "assets" / "identity.safetensors").read_bytes()
    assert len(data) <= 2**20 and judges() is judges()
    training = json.loads(artifact.metadata_of(data)["sfumato"])["training"]
    assert training["pool"] == "public" and training["half"] == 0 and training["people"] >= 250


def test_the_shipped_head_tells_strangers_apart() -> None:
    people = [avatars.draw_identity("open-peeps", "recombined", rng=random.Random(i)) for i in range(12)]
    shown = [avatars.draw_picture(person, rng=random.Random(f"{i}/{j}")) for i, person in enumerate(people) for j in range(3)]
    embedded = judges().embed(np.stack([picture.image for picture in shown])).astype(np.float64)
    keys = np.array([picture.identity.key for picture in shown])
    nearest = (embedded @ embedded.T - 2 * np.eye(len(keys))).argmax(axis=1)
    assert (keys[nearest] == keys).mean() > 0.7


def test_only_the_judges_side_can_reach_its_head() -> None:
    """It is loaded in one place, which attackers and whatever they are built on cannot import (see the import contracts)."""
    source = Path(sfumato.__file__).parent
    told = {path.relative_to(source).parts[0] for path in source.rglob("*.py") if "identity.safetensors" in path.read_text()}
    asked = {path.relative_to(source).parts[0] for path in source.rglob("*.py") if "judges()" in path.read_text()}
    assert told == {"judge"} and asked <= {"judge", "studies"}
