"""Pairs that the server makes itself, with the base and the public extractor: no condition needs to leave an owner.

From records: draws of ``p(z_0 | z_n)`` under the base, by ancestral steps from step n, and the conditions that the extractor finds in
*them*. That is post-processing of ``z_n``: nothing more is released. From nothing: draws of ``p(z_0)``, the same without any owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sfumato.core import registry
from sfumato.core.artifact import sha256
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.schedule import CLEAN
from sfumato.records.reader import Records

BATCH = 32
Tell = Callable[[int, int], None]


def if_needed(records: Records, base: Base, *, seed: int, on_step: Tell = lambda done, total: None) -> Records:
    """Records as they are where conditions left with them; else pairs drawn ``from_records``."""
    return from_records(records, base, condition=records.condition, seed=seed, on_step=on_step) if records.derived else records


def from_records(
    records: Records, base: Base, *, condition: str, seed: int, steps: int = 14, draws: int = 1,
    given: tuple[Any, torch.Tensor] | None = None, on_step: Tell = lambda done, total: None,
) -> Records:  # fmt: skip
    """Consistent pairs, ``draws`` of each record: posterior samples as if they were clean, with the conditions found in them.

    Args:
        records: sealed latents; their conditions, if any left, are not looked at.
        base: whose prior fills in what the noise hides, under the empty prompt.
        condition: the extractor's name.
        seed: of the server's own draws.
        steps: ancestral steps from n to the picture.
        draws: posterior samples of each record.
        given: a ControlNet that was trained on pairs of these records, and the pairs' conditions ``(N draws, 4, h, w)``, in the order in
            which they came: then draws are of ``p(z_0 | z_n, c)``, as in the second step of an EM.
        on_step: called with (records done, in all).
    """
    if bool((records.n < 0).any()):
        raise UserError("records that are not noised", expected="sealed latents to draw from", fix="train on them as they are")
    parts = []
    for value in records.n.unique().tolist():
        own = (records.n == value).nonzero()[:, 0].repeat(draws)
        parts += [(records.z_n[own[i : i + BATCH]], int(value)) for i in range(0, len(own), BATCH)]
    if given is not None and len(given[1]) != sum(len(start) for start, _ in parts):
        raise UserError(f"{len(given[1])} conditions for {draws} draws of {len(records)} records", expected="one for each draw")
    pairs = _pairs(parts, base, records=records, condition=condition, seed=seed, steps=steps, given=given, on_step=on_step)
    again = "" if given is None else f" given {sha256(given[1].numpy().tobytes())}"
    return replace(pairs, origin=f"{records.digest()} derived {condition} {seed} {steps} {draws}{again}")


def from_nothing(
    base: Base, count: int, *, condition: str, seed: int, steps: int = 25, on_step: Tell = lambda done, total: None
) -> Records:
    """``count`` unconditional samples of the base and their conditions: no private data at all."""
    last, draws = base.schedule.steps - 1, generator(seed, 11)
    parts = [(torch.randn((min(BATCH, count - i), *base.latent_shape), generator=draws), last) for i in range(0, count, BATCH)]
    return _pairs(parts, base, records=None, condition=condition, seed=seed, steps=steps, on_step=on_step)


def _pairs(
    parts: Iterable[tuple[torch.Tensor, int]], base: Base, *, records: Records | None, condition: str, seed: int, steps: int,
    given: tuple[Any, torch.Tensor] | None = None, on_step: Tell,
) -> Records:  # fmt: skip
    extractor: Any = registry.get("conditions", condition)
    if getattr(extractor, "SUPPLIED", False):
        raise UserError(f"condition {condition!r} comes with the folder", expected="one that can be extracted, such as canny")
    z: list[torch.Tensor] = []
    c: list[torch.Tensor] = []
    parts = list(parts)
    total = sum(len(start) for start, _ in parts)
    for number, (start, n) in enumerate(parts):
        at = sum(len(some) for some in z)
        control = {} if given is None else {"controlnet": given[0], "condition": given[1][at : at + len(start)]}
        drawn = sample(
            base, [""] * len(start), generator=generator(seed, 13, number), steps=steps, guidance=1.0, start=(start, n), eta=1.0, **control
        )
        edges = np.stack([extractor.extract(picture) for picture in base.decode_pixels(drawn)])
        z.append(drawn)
        c.append(base.encode_pixels(edges))
        on_step(sum(map(len, z)), total)
    z_0 = torch.cat(z)
    clean = torch.full((len(z_0),), CLEAN)
    manifests, refused = ((), ()) if records is None else (records.manifests, records.refused)
    return Records(z_0, torch.cat(c), clean, clean.clone(), manifests, refused, condition)
