"""Who is in the picture: a linear head on frozen features, trained so that pictures of one person lie close together.

A picture is described by EfficientNet-Lite0's features at size 128 and by its colours; the head standardises that
description, maps it to 128 dimensions and scales the result to length 1, so that a scalar product compares two pictures.
Training is a softmax over the known people by cosine similarity, from which the own person's is reduced by a margin
(CosFace, arXiv 1801.09414). It knows the style that it was trained on, and no other.

The public people are split into two halves by their key. The judge's head, which ships with the judge, saw half 0 only; an
attacker trains its own on half 1: an attack that pleases one network by accident does not please the other.
Notation: N pictures of H x W pixels, D values that describe a picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.core import artifact, training
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.features.colour import colour_histogram
from sfumato.features.efficientnet import DIMENSION, features

BINS = 8
DESCRIPTION = DIMENSION + BINS**3
EMBEDDING = 128
BYTES = 2**20
_HEADER = "sfumato"
_FORMAT = {"schema": 1, "what": "identity head", "description": f"EfficientNet-Lite0 at 128 and {BINS}x{BINS}x{BINS} colours"}
_SHAPES = {"mean": (DESCRIPTION,), "std": (DESCRIPTION,), "weight": (EMBEDDING, DESCRIPTION)}


def half(identity_key: str) -> int:
    """The half of the public people, 0 or 1, that a person belongs to: 0 trains the judge's head, 1 the attackers'.

    It is taken from another byte of the hash than the person's pool, so each pool falls into two halves.
    """
    return hashlib.sha256(identity_key.encode()).digest()[1] & 1


def describe(images: np.ndarray, *, seen: np.ndarray | None = None, precision: str = "no") -> np.ndarray:
    """The frozen description of pictures: uint8 ``(N, H, W, 3)`` to float32 ``(N, D)``, about 8 ms each on one core.

    Nearly all of that are ``features(images, size=128)``, in ``precision``: give them as ``seen`` where they are known.
    """
    seen = features(images, size=128, precision=precision) if seen is None else seen
    return np.hstack([seen, colour_histogram(images, bins=BINS).astype(np.float32)])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """A trained head.

    Attributes:
        mean, std: float32 ``(D,)``, of the descriptions that it was trained on.
        weight: float32 ``(128, D)``, with values that half precision holds exactly.
        precision: in which ``embed`` describes pictures; no part of the file.
    """

    mean: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    precision: str = "no"

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Pictures uint8 ``(N, H, W, 3)`` to float32 ``(N, 128)`` of length 1."""
        return self.embed_described(describe(images, precision=self.precision))

    def embed_described(self, described: np.ndarray) -> np.ndarray:
        """Descriptions ``(N, D)`` to float32 ``(N, 128)`` of length 1."""
        _described(described)
        mapped = ((described - self.mean) / self.std).astype(np.float32) @ self.weight.T
        embedded: np.ndarray = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12)
        return embedded

    def to_bytes(self, notes: Mapping[str, object] | None = None) -> bytes:
        """A safetensors file in half precision; ``notes`` say in its header how the head was trained."""
        tensors = {name: torch.from_numpy(getattr(self, name)).half() for name in _SHAPES}
        return artifact.to_bytes(tensors, {_HEADER: json.dumps({**(notes or {}), **_FORMAT}, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Head:
        """Read what ``to_bytes`` wrote; ``name`` names the file in the error.

        Raises:
            UserError: not an identity head for this description, or damaged.
        """
        if len(data) > BYTES:
            raise UserError(f"{name}: {len(data)} bytes", expected=f"an identity head, at most {BYTES}", fix="check the path")
        tensors = artifact.from_bytes(data, name=name)
        try:
            header = json.loads(artifact.metadata_of(data)[_HEADER])
            known = isinstance(header, dict) and all(header.get(key) == value for key, value in _FORMAT.items())
        except (KeyError, ValueError):
            known = False
        fits = {key: tuple(t.shape) for key, t in tensors.items()} == _SHAPES and all(t.dtype == torch.float16 for t in tensors.values())
        if not (known and fits and all(bool(t.isfinite().all()) for t in tensors.values()) and bool((tensors["std"] > 0).all())):
            raise UserError(f"{name}: not an identity head that this version knows", expected=json.dumps(_FORMAT), fix="train it again")
        mean, std, weight = (tensors[key].float().numpy() for key in _SHAPES)
        return cls(mean=mean, std=std, weight=weight)


def train(
    described: np.ndarray,
    identities: Sequence[str],
    *,
    seed: int,
    steps: int = 1500,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    dropout: float = 0.5,
    scale: float = 16.0,
    margin: float = 0.2,
) -> Head:
    """Train a head on described pictures of people; some 15 seconds on one core.

    Args:
        described: ``(N, D)``, as ``describe`` gives them.
        identities: the N pictures' people; two people at least.
        seed: of the first weights, the batches and the dropout.
        steps, batch, learning_rate, weight_decay: of AdamW; the learning rate falls along a cosine.
        dropout: share of the description that is left out at random.
        scale, margin: the softmax's factor, and what is taken off the cosine of the own person.
    """
    _described(described)
    people = sorted(set(identities))
    if len(described) != len(identities) or len(people) < 2:
        raise UserError(
            f"{len(described)} pictures with {len(identities)} identities, {len(people)} of them different",
            expected="as many of one as of the other, and two people at least",
        )
    index = {person: i for i, person in enumerate(people)}
    labels = torch.tensor([index[person] for person in identities])
    mean, std = _half(described.mean(axis=0)), _half(np.maximum(described.std(axis=0), 1e-2))
    x = torch.from_numpy(((described - mean) / std).astype(np.float32))
    draw = generator(seed, 0)
    weight = (torch.randn(EMBEDDING, DESCRIPTION, generator=draw) / DESCRIPTION**0.5).requires_grad_()
    centres = torch.randn(len(people), EMBEDDING, generator=draw).requires_grad_()
    parameters: list[dict[str, Any]] = [{"params": [weight]}, {"params": [centres], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def loss(step: int, part: int) -> torch.Tensor:
        draw = generator(seed, 1, step)
        rows = torch.randint(len(x), (batch,), generator=draw)
        kept = (torch.rand(batch, DESCRIPTION, generator=draw) >= dropout) / (1 - dropout)
        cosine = F.normalize((x[rows] * kept) @ weight.T) @ F.normalize(centres).T
        return F.cross_entropy(scale * (cosine - margin * F.one_hot(labels[rows], len(people))), labels[rows])

    training.fit(optimiser, loss, steps=steps, after=lambda done, _: schedule.step())
    return Head(mean=mean, std=std, weight=_half(weight.detach().numpy()))


def _half(values: np.ndarray) -> np.ndarray:
    """Rounded to what half precision holds, as float32."""
    rounded: np.ndarray = values.astype(np.float16).astype(np.float32)
    return rounded


def _described(described: np.ndarray) -> None:
    if described.ndim != 2 or described.shape[1] != DESCRIPTION or not np.isfinite(described).all():
        raise UserError(f"descriptions of shape {described.shape}", expected=f"finite (N, {DESCRIPTION}), as describe() gives them")
