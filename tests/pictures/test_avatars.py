from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import ImageColor

from sfumato.pictures import avatars

STYLES = sorted(avatars.STYLES)


def people(style: str, pool: avatars.Pool, n: int) -> list[avatars.Identity]:
    return [avatars.draw_identity(style, pool, rng=random.Random(f"test/{i}")) for i in range(n)]


@pytest.mark.parametrize("style", STYLES)
def test_no_person_is_in_two_pools(style: str) -> None:
    keys = {pool: {p.key for p in people(style, pool, 60)} for pool in avatars.POOLS}
    for one, other in combinations(avatars.POOLS, 2):
        assert not keys[one] & keys[other]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pool", avatars.POOLS)
def test_the_pool_is_a_function_of_the_person(style: str, pool: avatars.Pool) -> None:
    assert {p.pool for p in people(style, pool, 30)} == {pool}


@pytest.mark.parametrize("style", STYLES)
def test_withheld_parts_are_seen_in_unseen_part_only(style: str) -> None:
    spec = avatars.STYLES[style]
    shown = {pool: {dict(p.parts)[spec.part] for p in people(style, pool, 150)} for pool in avatars.POOLS}
    assert len(spec.withheld) >= 8
    assert shown.pop("unseen_part") <= set(spec.withheld)
    for pool, parts in shown.items():
        assert not parts & set(spec.withheld), pool


@pytest.mark.parametrize("style", STYLES)
def test_recombined_people_show_no_part_that_public_lacks(style: str) -> None:
    public, recombined = (
        {(name, value) for p in people(style, pool, n) for name, value in (*p.parts, ("skin", p.skin), ("hair colour", p.hair))}
        for pool, n in (("public", 1500), ("recombined", 60))
    )
    assert recombined <= public


@pytest.mark.parametrize("style", STYLES)
def test_the_tables_name_only_what_the_drawings_have(style: str) -> None:
    spec = avatars.STYLES[style]
    definition = avatars._style(style)[1]
    for part, names in {**spec.hidden, spec.part: spec.withheld}.items():
        assert set(names) <= set(definition["components"][part]["variants"])
    assert set(spec.skin.values()) <= set(definition["colors"]["skin"]["values"])
    assert set(spec.hair.values()) <= set(definition["colors"][spec.hair_colour]["values"])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pool", avatars.POOLS)
def test_a_stream_is_deterministic_and_depends_on_its_seed(style: str, pool: avatars.Pool) -> None:
    first, again, other = (avatars.picture(style, pool, 5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.image, again.image)
    assert (first.caption, first.attributes, first.identity) == (again.caption, again.attributes, again.identity)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("style", STYLES)
def test_pictures_are_small_rgb_on_the_named_background(style: str) -> None:
    for i in range(6):
        picture = avatars.picture(style, "held_out", i, seed=3)
        assert picture.image.shape == (64, 64, 3) and picture.image.dtype == np.uint8
        ground = ImageColor.getrgb(avatars.BACKGROUNDS[picture.attributes["background"]])
        assert tuple(picture.image[0, 0]) == ground and tuple(picture.image[0, -1]) == ground
        assert 0.05 < (picture.image != ground).any(-1).mean() < 0.95  # somebody is there


@pytest.mark.parametrize("style", STYLES)
def test_the_skin_has_the_colour_that_the_attribute_names(style: str) -> None:
    for i in range(6):
        picture = avatars.picture(style, "public", i, seed=7, size=128)
        assert nearest(picture.image, avatars.STYLES[style].skin[picture.attributes["skin"]]) < 3


@pytest.mark.parametrize(
    ("style", "cut"), [("open-peeps", "grayMedium"), ("adventurer", "long01"), ("big-ears", "long01"), ("personas", "mohawk")]
)
def test_hair_has_the_colour_that_the_attribute_names(style: str, cut: str) -> None:
    person = avatars.draw_identity(style, "public", rng=random.Random(0))
    parts = tuple((name, cut if name == avatars.STYLES[style].part else value) for name, value in person.parts)
    for hair, colour in avatars.STYLES[style].hair.items():
        picture = avatars.draw_picture(replace(person, hair=hair, parts=parts), rng=random.Random(0), size=128)
        assert picture.attributes["hair"] == hair and nearest(picture.image, colour) < 3


@pytest.mark.parametrize("style", STYLES)
def test_hair_has_a_colour_only_where_the_drawing_shows_it(style: str) -> None:
    spec = avatars.STYLES[style]
    for person in people(style, "public", 15):
        dyed = [replace(person, hair=hair) for hair in sorted(spec.hair)[-2:]]
        one, other = (avatars.draw_picture(p, rng=random.Random(1)).image for p in dyed)
        assert np.array_equal(one, other) == (person.hair == spec.ink_hair and not avatars._shows_hair_colour(style, person.parts))


def nearest(image: np.ndarray, colour: str) -> float:
    """The largest channel difference of the pixel that comes closest to ``colour``."""
    return float(np.abs(image.astype(int) - ImageColor.getrgb(colour)).max(-1).min())


@pytest.mark.parametrize("style", STYLES)
def test_different_people_look_different_in_the_same_pose(style: str) -> None:
    identities = {p.key: p for pool in avatars.POOLS for p in people(style, pool, 10)}
    images = {avatars.draw_picture(p, rng=random.Random("pose")).image.tobytes() for p in identities.values()}
    assert len(images) == len(identities)


@pytest.mark.parametrize("style", STYLES)
def test_pictures_of_one_person_differ(style: str) -> None:
    pictures = [avatars.picture(style, "recombined", i, seed=0, per_identity=3) for i in range(6)]
    assert len({p.identity for p in pictures[:3]}) == len({p.identity for p in pictures[3:]}) == 1
    assert pictures[0].identity != pictures[3].identity
    assert len({p.image.tobytes() for p in pictures}) == 6


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pool", avatars.POOLS)
def test_captions_mention_the_attributes(style: str, pool: avatars.Pool) -> None:
    for i in range(5):
        picture = avatars.picture(style, pool, i, seed=11)
        facts, caption = picture.attributes, picture.caption
        assert facts["style"] == style and caption.startswith(avatars.STYLES[style].noun.partition(" ")[0][0])
        assert f"{facts['skin']} skin" in caption and caption.endswith(f"{facts['background']} background")
        assert "bald" in caption if facts["cut"] == "bald" else f"{facts['hair']} {facts['cut']} hair" in caption
        assert ("glasses" in caption) == (facts["glasses"] == "glasses")
        assert facts["expression"] in caption


def test_beards_are_mentioned() -> None:
    bearded = avatars.Identity("open-peeps", "tan", "red", (("head", "long"), ("facialHair", "full3")))
    assert ", full beard," in avatars.draw_picture(bearded, rng=random.Random(0)).caption


def test_every_expression_has_a_word_where_the_drawing_names_it() -> None:
    words = {avatars._expression({"expression": v}) for v in avatars._variants("open-peeps", "expression")}
    words |= {avatars._expression({"mouth": v}) for v in avatars._variants("personas", "mouth")}
    assert words == set(avatars.EXPRESSIONS)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="open-peeps"):
        avatars.picture("closed-peeps", "public", 0, seed=0)
    with pytest.raises(ValueError, match="recombined"):
        avatars.draw_identity("personas", "secret", rng=random.Random(0))  # type: ignore[arg-type]
