"""What attacks by sampling share: the victim beside the undamaged base, pictures of it, and those that are most alike."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sfumato.adapters.conventions import TEXT, UNET
from sfumato.adapters.lora import Adapter, attached, check_fits
from sfumato.attacker.attempt import Effort, Tell
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample
from sfumato.features.efficientnet import features

STEPS: dict[Effort, int] = {"quick": 25, "full": 50}
PICTURES: dict[Effort, int] = {"quick": 4, "full": 8}  # of every guess, so that none has more tries than another
GUIDANCE = 3.0
BATCH = 16
SIZE = 128  # of pictures whose features are compared
ALIKE = 0.75  # pairs of draws above this quantile of similarity are neighbours in the graph of cliques


@contextmanager
def adapted(base: Base, adapter: Adapter) -> Iterator[Base]:
    """A base that computes with ``adapter`` while ``base`` stays what it is. The two share every weight: a second costs no memory.

    Raises:
        UserError: the adapter is one of another base.
    """
    victim = apart(base)
    with attached(victim, adapter):
        yield victim


def apart(base: Base) -> Base:
    """The same base with a UNet and a text encoder of its own to put adapters on, over the very same tensors."""
    return replace(base, unet=_twin(base.unet), text_encoder=_twin(base.text_encoder))


def merged(base: Base, adapter: Adapter) -> Base:
    """The base with what an adapter adds added to its weights: as fast as the base, which stays what it is.

    Raises:
        UserError: the adapter is one of another base.
    """
    check_fits(adapter, base)
    found, deltas = apart(base), adapter.deltas()
    for prefix, model in ((UNET, found.unet), (TEXT, found.text_encoder)):
        for path, module in model.named_modules():
            delta = deltas.get(prefix + path.removeprefix("text_model."))
            if delta is not None:  # a parameter of its own: the tensor is the base's, too
                whole = module.weight.detach() + delta.to(module.weight)
                module.weight = torch.nn.Parameter(whole, requires_grad=False)
    return found


def _twin(model: Any) -> Any:
    return copy.deepcopy(model, {id(x): x for x in (*model.parameters(), *model.buffers())})


def pictures(base: Base, prompts: list[str], *, steps: int, guidance: float, seed: int, tell: Tell) -> np.ndarray:
    """Draw a picture for each of ``prompts``: uint8 ``(K, H, W, 3)``, a function of the seed and the order."""
    parts: list[torch.Tensor] = []
    for at in range(0, len(prompts), BATCH):
        some = prompts[at : at + BATCH]
        with autocast(base.unet.device, choose_precision(base.unet.device)):
            parts.append(sample(base, some, generator=generator(seed, at), steps=steps, guidance=guidance))
        tell(at + len(some), len(prompts))
    return base.decode_pixels(torch.cat(parts))


def similarity(images: np.ndarray) -> np.ndarray:
    """Cosines ``(K, K)`` of the pictures' features (EfficientNet-Lite0, no eye for people), about the mean of all K."""
    found = features(images, size=SIZE).astype(np.float64)
    found -= found.mean(0)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return found @ found.T


def cliques(alike: np.ndarray, *, quantile: float = ALIKE) -> list[list[int]]:
    """Part draws into groups of which every two are neighbours: the largest first, each from its centre outwards.

    Neighbours are the pairs above ``quantile`` of all similarities. Of the remaining draws the largest clique that a greedy search from
    each of them finds is taken off, until none is left. A centre is the member most alike to the others of its clique.

    Args:
        alike: similarities ``(K, K)``, symmetric.
        quantile: from 0 (all one clique) to 1.
    """
    left, found = set(range(len(alike))), []
    pairs = alike[np.triu_indices(len(alike), 1)]
    least = np.quantile(pairs, quantile) if len(pairs) else 0.0
    while left:
        grown = [_grown(alike, seed, left, least) for seed in sorted(left)]
        best = max(grown, key=lambda clique: (len(clique), _closeness(alike, clique)))
        found.append(sorted(best, key=lambda i: -alike[i, best].sum()))
        left -= set(best)
    return found


def _grown(alike: np.ndarray, seed: int, left: set[int], least: float) -> list[int]:
    """A clique around ``seed``: the most alike first, as long as each is a neighbour of all before."""
    clique = [seed]
    for i in sorted(left - {seed}, key=lambda i: -alike[seed, i]):
        if all(alike[i, j] >= least for j in clique):
            clique.append(i)
    return clique


def _closeness(alike: np.ndarray, clique: list[int]) -> float:
    return float(alike[np.ix_(clique, clique)].mean())
