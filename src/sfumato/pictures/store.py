"""Whole sets of generated pictures, rendered once and kept on disk.

A set depends on its arguments alone; a cache that is missing, cut short, altered or drawn by other releases of the
drawing libraries is drawn again. The cache is one safetensors file: the pictures as tensors, the words as JSON in its header.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from sfumato.core.artifact import to_bytes, write_atomic
from sfumato.core.errors import UserError
from sfumato.pictures import avatars, fill50k

CACHE_VERSION = 1  # raise it whenever avatars or fill50k draw or describe anything differently
FILL50K = "fill50k"
KNOWN = (*avatars.STYLES, FILL50K)
_HEADER = "sfumato"
_DRAWS = 60  # of people, for each that is wanted
_DRAWN_BY = ("dicebear-core", "dicebear-styles", "resvg-py", "pillow")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureSet:
    """Pictures with all that is known about them; row ``i`` of every field describes the same picture.

    Attributes:
        images: uint8 RGB ``(N, H, W, 3)``.
        captions: what a prompt would say.
        attributes: exact values by name: style, skin, hair ... for people, ``circle`` and ``ground`` for Fill50K.
        identities: keys, equal for pictures of the same person. Every Fill50K picture is its own.
        conditions: uint8 RGB ``(N, H, W, 3)`` where the set comes with condition pictures (Fill50K), else None.
    """

    images: np.ndarray
    captions: list[str]
    attributes: list[dict[str, str]]
    identities: list[str]
    conditions: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[-1] != 3:
            raise ValueError(f"images are {self.images.dtype} {self.images.shape}; expected uint8 (N, H, W, 3)")
        if not len(self.captions) == len(self.attributes) == len(self.identities) == n:
            raise ValueError(
                f"{n} images with {len(self.captions)} captions, {len(self.attributes)} attributes, {len(self.identities)} identities"
            )
        if self.conditions is not None and (self.conditions.dtype != np.uint8 or self.conditions.shape != self.images.shape):
            raise ValueError(f"conditions are {self.conditions.dtype} {self.conditions.shape}; expected uint8 {self.images.shape}")

    def __len__(self) -> int:
        return len(self.images)


def load(style: str, pool: str, count: int, *, seed: int, per_identity: int = 1, cache: Path | None = None) -> PictureSet:
    """The first ``count`` pictures of the stream ``(style, pool, seed)``, about 10 ms each unless they are cached.

    Args:
        style: an avatar style or ``fill50k``.
        pool: one of ``avatars.POOLS``. Circles are nobody's: their pools merely differ in the seed.
        count: number of pictures, at least 1.
        seed: which stream. The public streams of seed 0 are what the tiny base was trained on.
        per_identity: consecutive pictures that show the same person; 1 for ``fill50k``. People are drawn with
            replacement, and styles have few of them: a person may come back later, so compare ``identities``.
        cache: folder for rendered sets; by default ``$SFUMATO_CACHE``, else ``~/.cache/sfumato``.

    Raises:
        UserError: an unknown style or pool, or a count that makes no sense.
    """
    if style not in KNOWN:
        raise UserError(f"unknown style {style!r}", expected=f"one of {', '.join(KNOWN)}")
    if pool not in avatars.POOLS:
        raise UserError(f"unknown pool {pool!r}", expected=f"one of {', '.join(avatars.POOLS)}")
    if count < 1 or per_identity < 1:
        raise UserError(f"count {count}, per_identity {per_identity}", expected="whole numbers from 1 up")
    if style == FILL50K and per_identity != 1:
        raise UserError(f"per_identity {per_identity} for fill50k", expected="1", fix="choose an avatar style; circles have no identity")
    arguments = {"style": style, "pool": pool, "count": count, "seed": seed, "per_identity": per_identity}
    path = (cache or default_cache()) / f"{style}-{pool}-{count}-seed{seed}-per{per_identity}-v{CACHE_VERSION}.safetensors"
    return _kept(path, arguments, lambda: _draw(style, pool, count, seed, per_identity))


def distinct(
    style: str,
    pool: avatars.Pool,
    people: int,
    pictures: int,
    *,
    seed: int,
    purpose: str,
    keep: Callable[[str], bool] = lambda key: True,
    cache: Path | None = None,
) -> PictureSet:
    """``pictures`` pictures of each of ``people`` different people, person by person; about 10 ms each unless they are cached.

    ``load`` draws people with replacement, and some far more often than others: of 1,000 draws only about 230 to 480 differ. Here people
    are drawn until there are enough, and only those are rendered.

    Args:
        style, pool: as for ``load``; not ``fill50k``.
        people, pictures: how many, and of each.
        seed, purpose: which stream; streams of other purposes share no picture.
        keep: whether a person with this key may be taken.
        cache: as for ``load``.

    Raises:
        UserError: the pool has not enough people.
    """
    stream, found = f"{seed}/{purpose}/{style}/{pool}", dict[str, avatars.Identity]()
    for draw in range(_DRAWS * people):
        person = avatars.draw_identity(style, pool, rng=random.Random(f"{stream}/person/{draw}"))
        if keep(person.key):
            found.setdefault(person.key, person)
        if len(found) == people:
            break
    else:
        raise UserError(
            f"{_DRAWS * people} draws from pool {pool} gave {len(found)} different people", expected=f"{people}", fix="ask for fewer"
        )
    whose = hashlib.sha256("\n".join(found).encode()).hexdigest()
    arguments = {"stream": stream, "people": whose, "count": people * pictures}
    name = hashlib.sha256(json.dumps(arguments).encode()).hexdigest()[:16]
    return _kept(
        (cache or default_cache()) / f"{style}-{pool}-{people}x{pictures}-{name}-v{CACHE_VERSION}.safetensors", arguments,
        lambda: _together(
            avatars.draw_picture(person, rng=random.Random(f"{stream}/picture/{key}/{i}"))
            for key, person in found.items()
            for i in range(pictures)
        ),
    )  # fmt: skip


def default_cache() -> Path:
    """``$SFUMATO_CACHE``, else ``~/.cache/sfumato``."""
    named = os.environ.get("SFUMATO_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "sfumato"


def _draw(style: str, pool: str, count: int, seed: int, per_identity: int) -> PictureSet:
    if style == FILL50K:
        stream = seed if pool == "public" else f"{seed}/{pool}"
        shapes = [fill50k.shape(i, seed=stream) for i in range(count)]
        return PictureSet(
            images=np.stack([s.image for s in shapes]),
            captions=[s.caption for s in shapes],
            attributes=[{"style": style, "circle": s.circle, "ground": s.ground} for s in shapes],
            identities=[f"{style}/{stream}/{i}" for i in range(count)],
            conditions=np.stack([s.condition for s in shapes]),
        )
    known: avatars.Pool = next(p for p in avatars.POOLS if p == pool)
    return _together(avatars.picture(style, known, i, seed=seed, per_identity=per_identity) for i in range(count))


def _together(drawn: Iterable[avatars.Picture]) -> PictureSet:
    pictures = list(drawn)
    return PictureSet(
        images=np.stack([p.image for p in pictures]),
        captions=[p.caption for p in pictures],
        attributes=[p.attributes for p in pictures],
        identities=[p.identity.key for p in pictures],
    )


def _kept(path: Path, arguments: dict[str, Any], draw: Callable[[], PictureSet]) -> PictureSet:
    """What the cache holds, or what is drawn now and kept there."""
    found = _read(path, arguments)
    if found is not None:
        return found
    drawn = draw()
    try:
        write_atomic(path, _pack(drawn, arguments))
    except (OSError, UserError) as error:
        _log.warning("rendered pictures are not kept: %s", error)
    return drawn


def _pack(drawn: PictureSet, arguments: dict[str, Any]) -> bytes:
    arrays = {"images": drawn.images} | ({} if drawn.conditions is None else {"conditions": drawn.conditions})
    header = {
        "arguments": arguments,
        "drawn_by": _releases(),
        "sha256": {name: _digest(array) for name, array in arrays.items()},
        "captions": drawn.captions,
        "attributes": drawn.attributes,
        "identities": drawn.identities,
    }
    return to_bytes({name: torch.from_numpy(array) for name, array in arrays.items()}, {_HEADER: json.dumps(header)})


def _read(path: Path, arguments: dict[str, Any]) -> PictureSet | None:
    """The cached set, or None where there is none that can be trusted."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()[_HEADER])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if header["arguments"] != arguments or header["drawn_by"] != _releases():
            return None
        if header["sha256"] != {name: _digest(array) for name, array in arrays.items()} or len(arrays["images"]) != arguments["count"]:
            return None
        return PictureSet(
            images=arrays["images"],
            captions=header["captions"],
            attributes=header["attributes"],
            identities=header["identities"],
            conditions=arrays.get("conditions"),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _releases() -> dict[str, str]:
    return {name: version(name) for name in _DRAWN_BY}


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
