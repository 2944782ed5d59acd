"""How far an owner's pictures lie from those of the base's own style: what was measured on these says little of others.

Figures of a level of privacy are those of one kind of pictures. Whether a folder is of that kind is told by two things. Its latents' mean
and spread in each channel: the Mahalanobis distance from public pictures of the style. And the error of the VAE's reconstruction: what
it cannot draw, it has not seen. (A small error alone tells nothing: it is small on a plain disc, too.) ``python recipes/measure_domain.py``
makes ``assets/domain.json``, the values of public pictures of six kinds. The distance of latents tells also whether the public pictures
that attackers learn from are like an owner's: ``between``.
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
    """Of a folder's ``pictures`` that were looked at, the share beyond ``limit``, within which 95 % of the style's public ones lie, by
    their latents; and beyond ``error_limit`` by the error of the VAE's reconstruction, where that was looked at."""

    beyond: float
    limit: float
    style: str
    pictures: int
    error_beyond: float | None = None
    error_limit: float | None = None

    @property
    def by_latents(self) -> bool:
        """Whether more latents lie beyond than chance puts there: of people with unseen parts a tenth do, of the nearest other style
        that was measured two fifths."""
        return self.beyond > MOST

    @property
    def by_error(self) -> bool:
        """The same of the VAE's reconstructions."""
        return self.error_beyond is not None and self.error_beyond > MOST

    @property
    def far(self) -> bool:
        """Whether either is far."""
        return self.by_latents or self.by_error


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
    shown = np.stack(images)
    latents = codec.encode_pixels(shown)
    found = distances(latents, np.array(style["mean"]), np.array(style["precision"]))
    error = float((errors(shown, latents, codec) > style["error_limit"]).mean())
    return Distance(float((found > style["limit"]).mean()), style["limit"], style["style"], len(images), error, style["error_limit"])


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


def errors(images: np.ndarray, latents: torch.Tensor, codec: Codec) -> np.ndarray:
    """Root mean squared errors ``(N,)``, 0 to 1, of pictures uint8 ``(N, H, W, 3)`` decoded again from their ``latents``."""
    off = codec.decode_pixels(latents).astype(np.float64) - images
    return np.asarray(np.sqrt((off**2).mean(axis=(1, 2, 3))) / 255)


def statistics(latents: torch.Tensor) -> np.ndarray:
    """Mean and standard deviation of each channel, ``(N, 2 C)``, of ``latents`` ``(N, C, h, w)``."""
    values = latents.double()
    return torch.cat([values.mean((2, 3)), values.std((2, 3))], dim=1).numpy()
