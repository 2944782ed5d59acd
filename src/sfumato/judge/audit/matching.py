"""Which record is which picture? Its holder can tell, since the noise is Gaussian: the likeliest assignment, and whether it fits.

Notation: N records, M pictures, d values of a latent, sigma the noise's spread. Of the true picture, ``|z_n - alpha z_0|^2 / sigma^2`` is
chi-squared with d degrees of freedom; of another, larger by ``alpha^2 |z_0 - z_0'|^2 / sigma^2``.

Pictures come in blocks, and of each record only its ``NEAREST`` are remembered: N x M distances of many pictures would fill any memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from sfumato.core.errors import UserError
from sfumato.diffusion.schedule import Schedule

ROUNDING = 5e-3  # spread, in units of a latent's, of half precision and of pictures that were encoded on another machine
SLACK = 0.05  # of the expected residual: 8-bit rounding is noise, too
DOUBTFUL = 0.1  # share of records that, taken one by one, look more like another picture; taken together far fewer are mistaken
NEAREST = 16  # pictures of each record that it may be; more are looked at where so few cannot be shared out
CHUNK = 2**24  # bytes of float64 at a time, where distances are taken exactly

Field = tuple[torch.Tensor, torch.Tensor]  # what was released (N, 4, h, w), and at which step (N,), -1 for clean
Block = tuple[torch.Tensor, ...]  # of each field, what some pictures would have been without noise (B, 4, h, w)


def match(fields: list[Field], blocks: Callable[[], Iterable[Block]], schedule: Schedule) -> np.ndarray:
    """For every record the number of its picture, int64 ``(N,)``: the assignment of least total residual.

    Args:
        fields: of each part of a record, what was released and at which step.
        blocks: gives all M pictures, some at a time, in the same order each time that it is called. Pictures are numbered by it.
        schedule: the base's.

    Raises:
        UserError: fewer pictures than records, records that are of none of the pictures, or so much noise that nobody can tell.
    """
    records, values, nearest = len(fields[0][0]), sum(released[0].numel() for released, _ in fields), NEAREST
    looks = [_Look.of(released, steps, schedule) for released, steps in fields]
    while True:
        residual, numbers, pictures = _candidates(looks, blocks(), records, nearest)
        if pictures < records:
            raise UserError(
                f"{records} records, {pictures} pictures", expected="the picture of every record", fix="give the folder that was sealed"
            )
        place = _shared_out(residual, numbers, pictures)
        if place is not None:
            break
        nearest *= 4
    rows = np.arange(records)
    index, assigned = numbers[rows, place], residual[rows, place]
    spread = 6 * np.sqrt(2 / values)
    strange = assigned > values * (1 + SLACK + spread)
    if strange.any() or assigned.mean() > values * (1 + SLACK + spread / np.sqrt(records)):
        raise UserError(
            f"{int(strange.sum()) or 'some'} of {records} records are of none of the {pictures} pictures",
            expected="the pictures that these records were made of, sealed with the steps that the manifest states",
            fix="give --truth the very folder that was sealed, unedited",
        )
    doubtful = (residual.argmin(axis=1) != place).mean()
    if doubtful > DOUBTFUL:
        raise UserError(
            f"{doubtful:.0%} of the records look as much like another picture",
            expected="noise through which the holder of a picture can tell its record: otherwise guesses cannot be scored",
            fix="audit a copy that was sealed at a lower step",
            privacy="that is no proof of safety: an attacker need not tell records apart",
        )
    found: np.ndarray = index
    return found


@dataclass(frozen=True, eq=False)
class _Look:
    """One part of all records: ``seen`` float32 ``(N, d)``, and of each record ``alpha`` and the noise's variance, ``(N,)``."""

    seen: torch.Tensor
    alpha: torch.Tensor
    variance: torch.Tensor

    @classmethod
    def of(cls, released: torch.Tensor, steps: torch.Tensor, schedule: Schedule) -> _Look:
        alpha, sigma = (torch.as_tensor(f(steps)).double() for f in (schedule.alpha, schedule.sigma))
        return cls(released.flatten(1).float(), alpha, sigma**2 + ROUNDING**2)

    def residuals(self, clean: torch.Tensor) -> torch.Tensor:
        """``|seen - alpha clean|^2 / variance`` ``(N, B)`` of pictures ``(B, 4, h, w)``, float32: fine to rank by."""
        flat = clean.flatten(1).float()
        middle = flat.mean(0)  # what all have in common would only cost digits
        flat, alpha = flat - middle, self.alpha.float()[:, None]
        seen = self.seen - alpha * middle
        squares = (seen**2).sum(1, keepdim=True) + alpha**2 * (flat**2).sum(1)
        return (squares - 2 * alpha * (seen @ flat.T)).clamp(min=0) / self.variance.float()[:, None]

    def exactly(self, clean: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """The same of one picture for each record, ``which`` ``(N,)``, in float64 ``(N,)``."""
        flat, parts = clean.flatten(1), []
        size = max(1, CHUNK // (8 * flat.shape[1]))
        for i in range(0, len(self.seen), size):
            seen, alpha = self.seen[i : i + size].double(), self.alpha[i : i + size, None]
            parts.append((seen - alpha * flat[which[i : i + size]].double()).square().sum(1))
        return torch.cat(parts) / self.variance


def _candidates(looks: list[_Look], blocks: Iterable[Block], records: int, nearest: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each record the ``nearest`` pictures: residuals ``(N, K)``, their numbers ``(N, K)``; and how many pictures there were."""
    residual, numbers, pictures = np.empty((records, 0)), np.empty((records, 0), np.int64), 0
    rows = np.arange(records)[:, None]
    for block in blocks:
        found = torch.stack([look.residuals(clean) for look, clean in zip(looks, block, strict=True)]).sum(0)
        first = found.argmin(dim=1)
        exact = torch.stack([look.exactly(clean, first) for look, clean in zip(looks, block, strict=True)]).sum(0)
        some = found.numpy().astype(np.float64)
        some[rows[:, 0], first.numpy()] = exact.numpy()
        own = (
            np.argpartition(some, nearest - 1, axis=1)[:, :nearest]
            if some.shape[1] > nearest
            else np.tile(np.arange(some.shape[1]), (records, 1))
        )
        residual, numbers = np.hstack([residual, some[rows, own]]), np.hstack([numbers, own + pictures])
        if residual.shape[1] > nearest:
            kept = np.argpartition(residual, nearest - 1, axis=1)[:, :nearest]
            residual, numbers = residual[rows, kept], numbers[rows, kept]
        pictures += some.shape[1]
    return residual, numbers, pictures


def _shared_out(residual: np.ndarray, numbers: np.ndarray, pictures: int) -> np.ndarray | None:
    """For each record the place ``(N,)`` of its own picture among its nearest, no picture given twice, at least total residual; None where
    the nearest are too few for that. With as many nearest as records it is the best of all assignments; with fewer, nearly always."""
    records, nearest = numbers.shape
    first = residual.argmin(axis=1)
    own = numbers[np.arange(records), first]
    if len(np.unique(own)) == records:
        return first  # nobody wants what another one wants
    starts = np.arange(0, records * nearest + 1, nearest)
    weights = csr_matrix((residual.ravel() + 1, numbers.ravel(), starts), shape=(records, pictures))  # zeros would be no edges
    try:
        row, column = min_weight_full_bipartite_matching(weights)
    except ValueError as error:
        if nearest >= pictures:
            raise AssertionError("as many pictures as records, and no assignment") from error
        return None
    taken = np.empty(records, np.int64)
    taken[row] = column
    place: np.ndarray = (numbers == taken[:, None]).argmax(axis=1)
    # One that got the last of its nearest might have got another that was forgotten.
    if nearest < pictures and (residual[np.arange(records), place] == residual.max(axis=1)).any():
        return None
    return place
