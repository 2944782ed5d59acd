"""Who is in a study of attacks on records: the people attackers learn on, those who are attacked,
and what anybody could have guessed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from PIL import Image

from sfumato.attacker.knowledge import Candidates, Copies, People, Public
from sfumato.core import registry
from sfumato.core.device import autocast, choose_precision
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.features.efficientnet import features
from sfumato.features.identity import half
from sfumato.judge.metrics import guesses
from sfumato.judge.metrics.adherence import edges_of
from sfumato.judge.metrics.guesses import Prior, Truth
from sfumato.judge.metrics.probes import Probes, fit_probes
from sfumato.pictures import store
from sfumato.pictures.store import PictureSet
from sfumato.server import derive
from sfumato.studies.records import scenarios

STYLE = "open-peeps"
ATTRIBUTES = ("skin", "hair")
LINKED = 500  # candidates that are held as something like the picture


def attackers(base: Base, people: int, each: int, *, condition: str, seed: int, tell: TellOf = lambda what, done, total: None) -> Public:
    """What attackers train on: public people of the half that the judge's head never saw."""
    tell("drawing the attackers' public people", 0, 0)
    drawn = store.distinct(STYLE, "public", people, each, seed=seed, purpose="attackers", keep=lambda key: half(key) == 1)
    z_0, c = latents_of(base, drawn.images, condition)
    return Public(drawn.images, z_0, c, drawn.identities, drawn.captions)


def victims(
    base: Base, public: Public, pools: tuple[str, ...], people: int, each: int, *, condition: str, seed: int,
    tell: TellOf = lambda what, done, total: None,
) -> tuple[scenarios.Private, dict[str, Truth], dict[str, Prior], list[object]]:  # fmt: skip
    """Private people of all pools, each with ``each`` pictures to be attacked and as many others in
    the gallery.

    Rows are interleaved: pool after pool, one picture of each person after another, so that the
    first records show different people.

    Returns:
        what owners hold; by pool what is true of it and what the prior alone guesses; and the
        candidates.
    """
    parts: list[tuple[PictureSet, np.ndarray]] = []
    truths: dict[str, Truth] = {}
    priors = dict.fromkeys(pools, prior(base, public, people * each, seed=seed))
    probes = cache(lambda: _probes(seed))  # they take longest, and only pictures are scored by them
    for place, pool in enumerate(pools):
        tell(f"drawing private people, {pool}", 0, 0)
        drawn = store.distinct(STYLE, pool, people, 2 * each, seed=seed, purpose="victims")  # type: ignore[arg-type]
        number = np.arange(len(drawn)).reshape(people, 2 * each)
        rows, others = number[:, :each].T.ravel(), number[:, each:].ravel()
        images, who = drawn.images[rows], [drawn.identities[i] for i in rows]
        gallery = drawn.images[others], [drawn.identities[i] for i in others]
        where = place + len(pools) * np.arange(len(rows))
        truths[pool] = Truth(
            images, edges_of(images, condition), [drawn.captions[i] for i in rows], who, where, gallery,
            attributes=(probes, [drawn.attributes[i] for i in rows]),
        )  # fmt: skip
        parts.append((drawn, np.stack([rows, number[:, each:].T.ravel()], axis=1)))
    order = [(drawn, *pair) for several in zip(*(rows for _, rows in parts), strict=True)
             for (drawn, _), pair in zip(parts, several, strict=True)]  # fmt: skip
    images, who = np.stack([drawn.images[i] for drawn, i, _ in order]), [drawn.identities[i] for drawn, i, _ in order]
    z_0, c = latents_of(base, images, condition)
    once = min(LINKED, len(pools) * people)  # the first rows show different people: who holds another picture means one person
    another = np.stack([drawn.images[k] for drawn, _, k in order[:once]])
    like = copies(images[:LINKED], base, condition) | {"another": partial(held, base, another, condition)}
    private = scenarios.Private(images, z_0, c, [drawn.captions[i] for drawn, i, _ in order], who)
    truths = {pool: replace(truth, latents=(z_0[truth.candidates], c[truth.candidates])) for pool, truth in truths.items()}
    names = {person: k for k, person in enumerate(dict.fromkeys(who))}
    return private, truths, priors, [Candidates(z_0, c, like), People(torch.tensor([names[person] for person in who]))]


def copies(images: np.ndarray, base: Base, condition: str) -> dict[str, Callable[[], Copies]]:
    """What somebody may hold in place of pictures uint8 ``(N, H, W, 3)``, made when asked: JPEGs,
    or crops."""

    def like(change: Callable[[Image.Image], Image.Image]) -> Copies:
        return held(base, np.stack([np.asarray(change(Image.fromarray(image))) for image in images]), condition)

    return {"jpeg": partial(like, _jpeg), "cropped": partial(like, _cropped)}


def held(base: Base, images: np.ndarray, condition: str) -> Copies:
    """Pictures uint8 ``(N, H, W, 3)`` as somebody holds them who knows the base and what conditions
    are."""

    def encode(shown: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        with autocast(base.vae.device, choose_precision(base.vae.device)):
            return latents_of(base, shown, condition)

    return Copies(images, *encode(images), encode)


def _jpeg(image: Image.Image) -> Image.Image:
    """Of quality 75."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer)


def _cropped(image: Image.Image) -> Image.Image:
    """The middle nine tenths, enlarged."""
    width, height = image.size
    box = (width // 20, height // 20, width - width // 20, height - height // 20)
    return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)


def prior(base: Base, public: Public, count: int, *, seed: int, drawn: int = 200) -> Prior:
    """Guesses without a record: ``drawn`` samples of the base, used again and again, and the mean
    public latent, decoded."""
    several = min(count, drawn)
    precision = choose_precision(base.unet.device)
    latents = derive.latents_from_nothing(base, several, seed=seed, steps=15, precision=precision)
    images = base.decode_pixels(latents, precision=precision)
    again = np.resize(np.arange(several), count)
    return Prior(images[again], base.decode_pixels(public.z_0.mean(0, keepdim=True)).repeat(count, axis=0))


def _probes(seed: int, *, count: int = 1200) -> Probes:
    """Of skin and hair, fitted on the judge's own public pictures."""
    known = store.load(STYLE, "public", count, seed=seed + 3)
    return fit_probes(guesses.described(known.images, features(known.images, size=128)), known.attributes, list(ATTRIBUTES))


def latents_of(base: Base, images: np.ndarray, condition: str) -> tuple[torch.Tensor, torch.Tensor]:
    """``z_0`` and ``c`` ``(N, 4, h, w)`` of pictures uint8 ``(N, H, W, 3)``."""
    extract = registry.get("conditions", condition).extract
    return base.encode_pixels(images), base.encode_pixels(np.stack([extract(image) for image in images]))
