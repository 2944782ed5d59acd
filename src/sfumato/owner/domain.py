"""How far an owner's pictures lie from those of the base's own style: what was measured on these says little of others.

Figures of a level of privacy are those of one kind of pictures. Whether a folder is of that kind is told by its latents' mean
and spread in each channel: the Mahalanobis distance from public pictures of the style. (The VAE's reconstruction error tells
nothing: it is as small on a plain disc.) ``python recipes/measure_domain.py`` makes ``assets/domain.json``. The same distance
tells whether the public pictures that attackers learn from are like an owner's: ``between``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from sfumato.core.errors import UserError
from sfumato.diffusion.base import Codec
from sfumato.owner.folder import Folder

MEASURED = "assets/domain.json"
LOOKS = 32  # pictures of a folder that are looked at
MOST = 0.25  # of them beyond the limit
WITHIN = 0.95  # of the style's public pictures lie within the limit
FEWEST = 60  # public pictures from which a limit can be told
_RIDGE = 1e-4


@dataclass(frozen=True)
class Distance:
    """Of a folder's ``pictures`` that were looked at, the share beyond ``limit``, within which 95 % of the style's public ones lie."""

    beyond: float
    limit: float
    style: str
    pictures: int

    @property
    def far(self) -> bool:
        """Whether more lie beyond than chance puts there: of people with unseen parts a tenth do, of the nearest other style
        that was measured two fifths."""
        return self.beyond > MOST


def known(fingerprint: str) -> dict[str, Any] | None:
    """What was measured of a base's own style, or None."""
    found: dict[str, Any] = json.loads((files("sfumato") / MEASURED).read_text())
    return found.get(fingerprint)


def look(folder: Folder, codec: Codec) -> Distance | None:
    """The distance of some pictures of ``folder``, evenly chosen; None where nothing was measured or no picture can be read."""
    style = known(codec.fingerprint)
    if style is None:
        return None
    chosen = np.unique(np.linspace(0, len(folder) - 1, min(LOOKS, len(folder))).round().astype(int))
    images = []
    for index in chosen:
        try:
            images.append(folder.examples[index].image())
        except UserError:
            continue  # it is reported when it is to be sealed
    if not images:
        return None
    found = distances(codec.encode_pixels(np.stack(images)), np.array(style["mean"]), np.array(style["precision"]))
    return Distance(float((found > style["limit"]).mean()), style["limit"], style["style"], len(images))


def between(latents: torch.Tensor, public: torch.Tensor) -> Distance:
    """The distance of ``latents`` ``(N, C, h, w)`` from ``public`` ones ``(P, C, h, w)``, at least ``FEWEST`` of them.

    Every second public picture says what is usual, and the others where the limit lies: the ones that were fitted lie too near.
    """
    mean, precision = fit(public[::2])
    limit = float(np.quantile(distances(public[1::2], mean, precision), WITHIN))
    found = distances(latents, mean, precision)
    return Distance(float((found > limit).mean()), limit, "the public pictures", len(latents))


def fit(latents: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(F,)`` and inverse covariance ``(F, F)`` of the statistics of ``latents`` ``(N, C, h, w)``."""
    found = statistics(latents)
    return found.mean(0), np.linalg.inv(np.cov(found.T) + _RIDGE * np.eye(found.shape[1]))


def distances(latents: torch.Tensor, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Mahalanobis distances ``(N,)`` of the statistics of ``latents`` ``(N, C, h, w)``."""
    off = statistics(latents) - mean
    return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", off, precision, off)))


def statistics(latents: torch.Tensor) -> np.ndarray:
    """Mean and standard deviation of each channel, ``(N, 2 C)``, of ``latents`` ``(N, C, h, w)``."""
    values = latents.double()
    return torch.cat([values.mean((2, 3)), values.std((2, 3))], dim=1).numpy()
