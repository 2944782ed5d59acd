"""Cartoon people whose attributes are known exactly.

An *identity* is a fixed choice of the features that make a person (hair, skin, nose ...); its
pictures vary in expression, clothes, accessories, background and pose. Which pool an identity
belongs to is a function of the identity alone, so the pools are disjoint by construction:

* ``public``: what the base, the probes and the attackers may be trained on;
* ``held_out``: made of the same parts, kept aside to judge the base;
* ``recombined``: private people whose parts all occur in public;
* ``unseen_part``: private people with a hair style that no public picture shows.

Drawings: DiceBear styles, see ``assets/LICENSES-PICTURES.md`` for the artists and their licences.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from sfumato.core.errors import UserError

Pool = Literal["public", "held_out", "recombined", "unseen_part"]
POOLS: tuple[Pool, ...] = ("public", "held_out", "recombined", "unseen_part")
SIZE = 64

BACKGROUNDS = {
    "white": "#f4f4f4",
    "grey": "#8d8d92",
    "red": "#c8504a",
    "orange": "#ef9d4b",
    "yellow": "#f2dc5d",
    "green": "#6fae62",
    "teal": "#4aa6a0",
    "blue": "#5b8fd0",
    "navy": "#33427a",
    "purple": "#8f62b5",
    "pink": "#eeaec6",
}
PEEP_HAIR = {
    "black": "#2c1b18", "silver": "#e8e1e1", "platinum": "#ecdcbf", "blonde": "#d6b370", "pink": "#f59797",
    "golden": "#b58143", "auburn": "#a55728", "brown": "#724133", "dark": "#4a312c", "red": "#c93305",
}  # fmt: skip
ADVENTURER_HAIR = {
    "black": "#0e0e0e", "platinum": "#e5d7a3", "blonde": "#b9a05f", "olive": "#796a45", "turquoise": "#85c2c6",
    "brown": "#6a4e35", "dark": "#562306", "silver": "#afafaf", "green": "#3eac2c", "pink": "#dba3be",
    "purple": "#592454", "golden": "#ac6511", "orange": "#cb6820", "red": "#ab2a18",
}  # fmt: skip
PERSONAS_HAIR = {
    "navy": "#362c47", "orange": "#f29c65", "brown": "#6c4545", "coral": "#f27d65",
    "silver": "#dee1f5", "pink": "#e16381", "red": "#e15c66",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StyleSpec:
    """What an identity fixes and what a picture varies, by DiceBear option name.

    ``optional`` gives the probability with which a component is drawn at all; ``hidden`` are variants that
    hide the person or are not one; ``withheld`` are the parts that only ``unseen_part`` identities have.
    Many drawings ignore the hair colour; a person none of whose parts shows it has ``ink_hair``, so that
    different identities always look different.
    """

    noun: str
    part: str
    withheld: tuple[str, ...]
    identity: tuple[str, ...]
    varying: tuple[str, ...]
    optional: dict[str, float]
    hidden: dict[str, tuple[str, ...]]
    skin: dict[str, str]
    hair_colour: str
    hair: dict[str, str]
    ink_hair: str


STYLES: dict[str, StyleSpec] = {
    "open-peeps": StyleSpec(
        noun="a peep",
        part="head",
        withheld=("bantuKnots", "cornrows2", "dreads2", "flatTopLong", "grayBun", "hatHip", "longAfro", "mohawk2", "pomp", "turban"),
        identity=("head", "facialHair"),
        varying=("expression", "accessories"),
        optional={"facialHair": 0.25, "accessories": 0.3, "mask": 0.0},
        hidden={"expression": ("monster", "cyclops", "angryWithFang"), "head": ("bear",), "accessories": ("eyepatch",)},
        skin={"pale": "#ffdbb4", "light": "#edb98a", "tan": "#d08b5b", "brown": "#ae5d29", "dark": "#694d3d"},
        hair_colour="headContrast",
        hair=PEEP_HAIR,
        ink_hair="black",
    ),
    "adventurer": StyleSpec(
        noun="an adventurer",
        part="hair",
        withheld=("long03", "long09", "long14", "long20", "long26", "short04", "short10", "short16"),
        identity=("hair", "details"),
        varying=("eyes", "eyebrows", "mouth", "glasses", "earrings"),
        optional={"details": 0.2, "glasses": 0.25, "earrings": 0.2},
        hidden={},
        skin={"pale": "#f2d3b1", "light": "#ecad80", "brown": "#9e5622", "dark": "#763900"},
        hair_colour="hair",
        hair=ADVENTURER_HAIR,
        ink_hair="black",
    ),
    "big-ears": StyleSpec(
        noun="a big eared person",
        part="hair",
        withheld=("long04", "long09", "long15", "long20", "short05", "short10", "short15", "short20"),
        identity=("head", "ears", "nose", "hair", "frontHair", "sideburns"),
        varying=("eyes", "mouth"),
        optional={"details": 0.0},
        hidden={},
        skin={"pale": "#f8b788", "light": "#da9969", "tan": "#c07f50", "brown": "#a66637", "dark": "#89532c"},
        hair_colour="hair",
        hair=PEEP_HAIR,
        ink_hair="black",
    ),
    "personas": StyleSpec(
        noun="a persona",
        part="hair",
        withheld=("bobBangs", "bunUndercut", "curlyHighTop", "extraLong", "fade", "pigtails", "shortComboverChops", "straightBun"),
        identity=("hair", "nose", "facialHair"),
        varying=("eyes", "mouth", "clothes"),
        optional={"facialHair": 0.25},
        hidden={"mouth": ("pacifier",), "hair": ("beanie", "cap")},
        skin={"pale": "#eeb4a4", "rosy": "#e7a391", "light": "#e5a07e", "coral": "#d78774", "tan": "#b16a5b", "brown": "#92594b",
              "dark": "#623d36"},
        hair_colour="hair",
        hair=PERSONAS_HAIR,
        ink_hair="no",
    ),
}  # fmt: skip

EXPRESSIONS = {
    "smiling": ("smile", "smileBig", "smileLOL", "smileTeethGap", "lovingGrin1", "lovingGrin2", "cute", "eatingHappy", "bigSmile",
                "cheeky"),
    "angry": ("rage", "veryAngry", "driven", "contempt", "frown"),
    "worried": ("concerned", "concernedFear", "fear", "hectic", "awe", "surprise"),
    "sleepy": ("eyesClosed", "tired", "old"),
    "calm": ("blank", "calm", "serious", "solemn", "suspicious", "explaining", "smirk", "lips"),
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """One invented person: a style and the options that every picture of the person shares."""

    style: str
    skin: str
    hair: str
    parts: tuple[tuple[str, str | None], ...]

    @property
    def key(self) -> str:
        """A stable name, equal for equal people."""
        return json.dumps([self.style, self.skin, self.hair, self.parts])

    @property
    def pool(self) -> Pool:
        """The only pool that this person can be in."""
        spec = STYLES[self.style]
        if dict(self.parts)[spec.part] in spec.withheld:
            return "unseen_part"
        bucket = hashlib.sha256(self.key.encode()).digest()[0] % 16
        return "recombined" if bucket < 3 else "held_out" if bucket == 3 else "public"


@dataclass(frozen=True)
class Picture:
    """One rendered picture: ``image`` uint8 ``(64, 64, 3)``, its caption and its exact attributes."""

    image: np.ndarray
    caption: str
    attributes: dict[str, str]
    identity: Identity


def draw_identity(style: str, pool: Pool, *, rng: random.Random) -> Identity:
    """Draw a person of ``style`` that belongs to ``pool`` (rejection sampling)."""
    spec = _spec(style)
    if pool not in POOLS:
        raise UserError(f"unknown pool {pool!r}; known: {', '.join(POOLS)}")
    while True:
        parts = []
        for part in spec.identity:
            drawn = rng.random() < spec.optional.get(part, 1.0)
            variants = _variants(style, part)
            if part == spec.part:
                variants = [v for v in variants if (v in spec.withheld) == (pool == "unseen_part")]
            parts.append((part, rng.choice(variants) if drawn else None))
        hair = rng.choice(sorted(spec.hair)) if _shows_hair_colour(style, tuple(parts)) else spec.ink_hair
        identity = Identity(style, rng.choice(sorted(spec.skin)), hair, tuple(parts))
        if identity.pool == pool:
            return identity


def draw_picture(identity: Identity, *, rng: random.Random, size: int = SIZE) -> Picture:
    """Draw one picture of a person, with expression, clothes, accessories, background and pose of its own."""
    spec = STYLES[identity.style]
    varying: list[tuple[str, str | None]] = []
    for part in spec.varying:
        drawn = rng.random() < spec.optional.get(part, 1.0)
        varying.append((part, rng.choice(_variants(identity.style, part)) if drawn else None))
    background = rng.choice(sorted(BACKGROUNDS))
    options: dict[str, Any] = {
        "size": size,
        "skinColor": [spec.skin[identity.skin]],
        f"{spec.hair_colour}Color": [spec.hair.get(identity.hair, "#000000")],
        "backgroundColor": [BACKGROUNDS[background]],
        "flip": rng.choice(["none", "horizontal"]),
        "rotate": rng.uniform(-12, 12),
        "scale": rng.uniform(0.85, 1.2),
        "translateX": rng.uniform(-5, 5),
        "translateY": rng.uniform(-5, 5),
        "seed": "0",
    }
    if identity.style == "personas":
        options["facialHairColor"] = options[f"{spec.hair_colour}Color"]
    clothing = _style(identity.style)[1].get("colors", {}).get("clothing")
    if clothing:
        options["clothingColor"] = [rng.choice(clothing["values"])]
    for part, variant in (*identity.parts, *varying):
        options[f"{part}Probability"] = 0 if variant is None else 100
        if variant is not None:
            options[f"{part}Variant"] = [variant]
    for part in spec.optional:
        options.setdefault(f"{part}Probability", 0)
    attributes = {"style": identity.style, "skin": identity.skin, "hair": identity.hair, "background": background}
    parts = dict((*identity.parts, *varying))
    attributes["expression"] = _expression(parts)
    attributes["glasses"] = "glasses" if _wears_glasses(parts) else "none"
    attributes["cut"] = _words(str(parts[spec.part]))
    return Picture(_render(identity.style, options, size), caption_of(attributes, parts), attributes, identity)


def caption_of(attributes: dict[str, str], parts: dict[str, str | None]) -> str:
    """The caption that states a picture's attributes in words."""
    noun = STYLES[attributes["style"]].noun
    article, _, rest = noun.partition(" ")
    bald = attributes["cut"] == "bald"
    person = f"a bald {rest}" if bald else f"{article} {rest} with {attributes['hair']} {attributes['cut']} hair"
    words = [person, f"{attributes['skin']} skin"]
    beard = parts.get("facialHair")
    if beard:
        words.append(_words(beard))
    if attributes["expression"]:
        words.append(attributes["expression"])
    if attributes["glasses"] != "none":
        words.append("glasses")
    return ", ".join([*words, f"{attributes['background']} background"])


def picture(style: str, pool: Pool, index: int, *, seed: int, per_identity: int = 1, size: int = SIZE) -> Picture:
    """Picture ``index`` of the endless, deterministic stream ``(style, pool, seed)``.

    ``per_identity`` consecutive pictures show the same person.
    """
    stream = f"{seed}/{style}/{pool}"
    person = draw_identity(style, pool, rng=random.Random(f"{stream}/person/{index // per_identity}"))
    return draw_picture(person, rng=random.Random(f"{stream}/picture/{index}"), size=size)


def _spec(style: str) -> StyleSpec:
    if style not in STYLES:
        raise UserError(f"unknown avatar style {style!r}; known: {', '.join(STYLES)}")
    return STYLES[style]


def _words(variant: str) -> str:
    """``flatTopLong`` -> ``flat top long``; numbers are dropped: words cannot tell those variants apart."""
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in variant if not c.isdigit())
    return {"variant": "", "no hair": "bald", "full": "full beard", "chin": "chin beard"}.get(spaced.strip(), spaced.strip())


def _expression(parts: dict[str, str | None]) -> str:
    shown = parts.get("expression") or parts.get("mouth") or ""
    return next((word for word, names in EXPRESSIONS.items() if shown in names), "")


def _wears_glasses(parts: dict[str, str | None]) -> bool:
    accessory = parts.get("accessories") or parts.get("glasses")
    return bool(accessory) or parts.get("eyes") in ("glasses", "sunglasses")


@lru_cache(maxsize=8)
def _style(style: str) -> tuple[Any, dict[str, Any]]:
    import dicebear_styles
    from dicebear import Style

    folder = Path(next(iter(dicebear_styles.__path__)))
    definition = json.loads((folder / f"{style}.json").read_text(encoding="utf-8"))
    return Style(definition), definition


@lru_cache(maxsize=256)
def _variants(style: str, part: str) -> list[str]:
    hidden = STYLES[style].hidden.get(part, ())
    return sorted(v for v in _style(style)[1]["components"][part]["variants"] if v not in hidden)


def _shows_hair_colour(style: str, parts: tuple[tuple[str, str | None], ...]) -> bool:
    return any(variant is not None and _is_hair_coloured(style, part, variant) for part, variant in parts)


@lru_cache(maxsize=4096)
def _is_hair_coloured(style: str, part: str, variant: str) -> bool:
    drawing = _style(style)[1]["components"][part]["variants"][variant]
    names = {STYLES[style].hair_colour, "facialHair"}
    return any(isinstance(node, dict) and node.get("type") == "color" and node.get("name") in names for node in _nodes(drawing))


def _nodes(tree: Any) -> Iterator[Any]:
    """Every node of a JSON tree."""
    yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _render(style: str, options: dict[str, Any], size: int) -> np.ndarray:
    import resvg_py
    from dicebear import Avatar

    svg = Avatar(_style(style)[0], options).to_string()
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, dpi=96, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))
