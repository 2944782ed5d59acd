"""Pairs that the server makes itself, with the base and the public extractor: no condition needs to leave an owner.

From records: draws of ``p(z_0 | z_n)`` under the base, by ancestral steps from step n, and the conditions that the extractor finds in
*them*. That is post-processing of ``z_n``: nothing more is released. From nothing: draws of ``p(z_0)``, the same without any owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.core import processes, registry
from sfumato.core.artifact import from_bytes, sha256, to_bytes, write_atomic
from sfumato.core.device import autocast
from sfumato.core.errors import UserError
from sfumato.core.progress import Tell
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.schedule import CLEAN
from sfumato.features.variation import kinds_of, vary
from sfumato.records.reader import Records

BATCH = 32
GUIDANCE = 3.0  # of public prompts


def if_needed(
    records: Records, base: Base, *, seed: int, precision: str = "no", work: Path | None = None,
    on_step: Tell = lambda done, total: None,
) -> Records:  # fmt: skip
    """Records as they are where conditions left with them; else pairs drawn ``from_records``."""
    if not records.derived:
        return records
    return from_records(records, base, condition=records.condition, seed=seed, precision=precision, work=work, on_step=on_step)


def from_records(
    records: Records, base: Base, *, condition: str, seed: int, steps: int = 14, draws: int = 1,
    given: tuple[Any, torch.Tensor] | None = None, precision: str = "no", work: Path | None = None,
    on_step: Tell = lambda done, total: None,
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
        precision: that the networks draw in, ``no`` for float32.
        work: a private folder that keeps what is drawn, a few dozen pairs a file: a draw that was killed goes on from there, and several
            processes share the work. None: everything is drawn here and now, by every process.
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
    again = "" if given is None else f" given {sha256(given[1].numpy().tobytes())}"
    exact = "" if precision == "no" else f" {precision}"
    origin = f"{records.digest()} derived {condition} {seed} {steps} {draws}{again}{exact}"
    kept = None if work is None else _Kept(work / "derived" / sha256(f"{origin} {base.fingerprint} {base.unet_fingerprint}".encode())[:16])
    pairs = _pairs(
        parts,
        base,
        records=records,
        condition=condition,
        seed=seed,
        steps=steps,
        given=given,
        precision=precision,
        kept=kept,
        on_step=on_step,
    )
    return replace(pairs, origin=origin)


def from_nothing(
    base: Base, count: int, *, condition: str, seed: int, steps: int = 25, prompts: tuple[str, ...] = (),
    on_step: Tell = lambda done, total: None,
) -> Records:  # fmt: skip
    """``count`` samples of the base and their conditions: no private data at all.

    They are drawn under the empty prompt, or under public ``prompts`` in turn.
    """
    return _pairs(
        _nothing(base, count, seed), base, records=None, condition=condition, seed=seed, steps=steps, prompts=prompts, on_step=on_step
    )  # fmt: skip


def latents_from_nothing(base: Base, count: int, *, seed: int, steps: int = 25, precision: str = "no") -> torch.Tensor:
    """The samples of ``from_nothing`` ``(count, 4, h, w)`` alone, drawn in ``precision``; no condition is looked for."""
    return torch.cat(
        [
            _sampled(base, start, n, seed=seed, number=number, steps=steps, precision=precision)
            for number, (start, n) in enumerate(_nothing(base, count, seed))
        ]
    )


def _nothing(base: Base, count: int, seed: int) -> list[tuple[torch.Tensor, int]]:
    """Pure noise at the last step, a batch at a time."""
    last, draws = base.schedule.steps - 1, generator(seed, 11)
    return [(torch.randn((min(BATCH, count - i), *base.latent_shape), generator=draws), last) for i in range(0, count, BATCH)]


def _sampled(
    base: Base, start: torch.Tensor, n: int, *, seed: int, number: int, steps: int, precision: str, said: list[str] | None = None,
    **control: Any,
) -> torch.Tensor:  # fmt: skip
    """Ancestral draws from ``start`` ``(B, 4, h, w)`` at step n, the batch of this ``number``, under prompts or the empty one."""
    with autocast(base.unet.device, precision):
        return sample(
            base, said or [""] * len(start), generator=generator(seed, 13, number), steps=steps, guidance=GUIDANCE if said else 1.0,
            start=(start, n), eta=1.0, **control,
        )  # fmt: skip


def varied(pairs: Records, base: Base, kinds: str | None, *, seed: int) -> Records:
    """Clean pairs, each picture varied (``features.variation``) and its condition found again in the variation.

    Args:
        pairs: with clean latents: the server's own draws, or pictures in the clear.
        base: to see them with.
        kinds: joined by ``+``, or ``all``; None or empty leaves the pairs as they are.
        seed: of the draws.

    Raises:
        UserError: noised records, which nobody can bend; or an unknown kind.
    """
    if not kinds:
        return pairs
    if bool((pairs.n != CLEAN).any()):
        raise UserError("variations of noised records", expected="pictures that can be seen", fix="derive pairs from them first")
    chosen, extractor = kinds_of(kinds), extractor_of(pairs.condition)
    pictures, conditions = [], []
    for start in range(0, len(pairs), BATCH):
        images = vary(base.decode_pixels(pairs.z_n[start : start + BATCH]), chosen, seed=seed + start)
        pictures.append(base.encode_pixels(images))
        conditions.append(base.encode_pixels(np.stack([extractor.extract(image) for image in images])))
    origin = f"{pairs.digest()} varied {kinds} {seed}"
    clean = torch.full((len(pairs),), CLEAN)
    found = Records(torch.cat(pictures), torch.cat(conditions), clean, clean.clone(), pairs.manifests, pairs.refused, pairs.condition)
    return replace(found, origin=origin)


def from_pictures(
    z_0: torch.Tensor, base: Base, *, condition: str, origin: str, on_step: Tell = lambda done, total: None
) -> Records:  # fmt: skip
    """Latents ``(N, 4, h, w)`` that the server drew before, and the conditions found in them; ``origin`` names them."""
    extractor: Any = extractor_of(condition)
    found = []
    for start in range(0, len(z_0), BATCH):
        edges = np.stack([extractor.extract(picture) for picture in base.decode_pixels(z_0[start : start + BATCH])])
        found.append(base.encode_pixels(edges))
        on_step(min(start + BATCH, len(z_0)), len(z_0))
    clean = torch.full((len(z_0),), CLEAN)
    return Records(z_0, torch.cat(found), clean, clean.clone(), (), (), condition, origin=origin)


def extractor_of(condition: str) -> Any:
    """The extractor of this name. Raises UserError for a condition that comes with the folder."""
    extractor: Any = registry.get("conditions", condition)
    if getattr(extractor, "SUPPLIED", False):
        raise UserError(f"condition {condition!r} comes with the folder", expected="one that can be extracted, such as canny")
    return extractor


def _pairs(
    parts: Iterable[tuple[torch.Tensor, int]], base: Base, *, records: Records | None, condition: str, seed: int, steps: int,
    given: tuple[Any, torch.Tensor] | None = None, prompts: tuple[str, ...] = (), precision: str = "no", kept: _Kept | None = None,
    on_step: Tell,
) -> Records:  # fmt: skip
    extractor: Any = extractor_of(condition)
    parts = list(parts)
    ends = np.cumsum([len(start) for start, _ in parts]).tolist()
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for number, (start, n) in enumerate(parts):
        if kept is not None and number % processes.count() != processes.rank():
            continue  # another process draws these
        pair = None if kept is None else kept.get(number, len(start))
        if pair is None:
            here = slice(ends[number] - len(start), ends[number])
            said = [prompts[i % len(prompts)] for i in range(here.start, here.stop)] if prompts else None
            control = {} if given is None else {"controlnet": given[0], "condition": given[1][here]}
            drawn = _sampled(base, start, n, seed=seed, number=number, steps=steps, precision=precision, said=said, **control)
            edges = np.stack([extractor.extract(picture) for picture in base.decode_pixels(drawn)])
            pair = drawn, base.encode_pixels(edges)
        if kept is None:
            found[number] = pair
        else:
            kept.put(number, *pair)
        on_step(ends[number], ends[-1])
    if kept is not None:
        processes.wait()
        found = {number: kept.whole(number, len(start)) for number, (start, _) in enumerate(parts)}
    z_0, c = (torch.cat([found[number][k] for number in range(len(parts))]) for k in (0, 1))
    clean = torch.full((len(z_0),), CLEAN)
    manifests, refused = ((), ()) if records is None else (records.manifests, records.refused)
    return Records(z_0, c, clean, clean.clone(), manifests, refused, condition)


@dataclass(frozen=True)
class _Kept:
    """Pairs on the disk, a file for each part, whole or absent; the folder is named by all that decides them."""

    folder: Path

    def get(self, number: int, count: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Part ``number`` of ``count`` pairs, or None: it is drawn again where it is missing or damaged."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            tensors = from_bytes(path.read_bytes(), name=str(path))
            z_0, c = tensors["z_0"], tensors["c"]
        except (UserError, KeyError):
            return None
        return (z_0, c) if len(z_0) == len(c) == count else None

    def whole(self, number: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Part ``number``, which was kept a moment ago, by whichever process."""
        pair = self.get(number, count)
        if pair is None:
            raise UserError(f"{self._path(number)}: gone or damaged", fix="run it again: it is drawn once more")
        return pair

    def put(self, number: int, z_0: torch.Tensor, c: torch.Tensor) -> None:
        """Keep part ``number``."""
        if not self._path(number).exists() or self.get(number, len(z_0)) is None:
            write_atomic(self._path(number), to_bytes({"z_0": z_0, "c": c}), private=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"
