"""Which record is which picture? Its holder can tell, since the noise is Gaussian: the likeliest assignment, and whether it fits.

Notation: N records, M pictures, d values of a latent, sigma the noise's spread. Of the true picture, ``|z_n - alpha z_0|^2 / sigma^2`` is
chi-squared with d degrees of freedom; of another, larger by ``alpha^2 |z_0 - z_0'|^2 / sigma^2``.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sfumato.core.errors import UserError
from sfumato.diffusion.schedule import Schedule

ROUNDING = 5e-3  # spread, in units of a latent's, of half precision and of pictures that were encoded on another machine
SLACK = 0.05  # of the expected residual: 8-bit rounding is noise, too
DOUBTFUL = 0.1  # share of records that, taken one by one, look more like another picture; taken together far fewer are mistaken


def match(fields: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], schedule: Schedule) -> np.ndarray:
    """For every record the number of its picture, int64 ``(N,)``.

    Args:
        fields: of each part of a record: what was released ``(N, 4, h, w)``, at which step ``(N,)`` (-1 for clean), and what the pictures
            would have been without noise ``(M, 4, h, w)``.
        schedule: the base's.

    Raises:
        UserError: fewer pictures than records, records that are of none of the pictures, or so much noise that nobody can tell.
    """
    records, pictures = len(fields[0][0]), len(fields[0][2])
    if pictures < records:
        raise UserError(
            f"{records} records, {pictures} pictures", expected="the picture of every record", fix="give the folder that was sealed"
        )
    residual, values = np.zeros((records, pictures)), 0
    for released, steps, clean in fields:
        flat = clean.flatten(1).double().numpy()
        for step in steps.unique().tolist():
            rows = (steps == step).numpy()
            alpha, sigma = float(schedule.alpha(step)), float(schedule.sigma(step))
            seen = released.flatten(1).double().numpy()[rows]
            residual[rows] += cdist(seen, alpha * flat, "sqeuclidean") / (sigma**2 + ROUNDING**2)
        values += flat.shape[1]
    index = linear_sum_assignment(residual)[1]
    assigned = residual[np.arange(records), index]
    spread = 6 * np.sqrt(2 / values)
    strange = assigned > values * (1 + SLACK + spread)
    if strange.any() or assigned.mean() > values * (1 + SLACK + spread / np.sqrt(records)):
        raise UserError(
            f"{int(strange.sum()) or 'some'} of {records} records are of none of the {pictures} pictures",
            expected="the pictures that these records were made of, sealed with the steps that the manifest states",
            fix="give --truth the very folder that was sealed, unedited",
        )
    doubtful = (residual.argmin(axis=1) != index).mean()
    if doubtful > DOUBTFUL:
        raise UserError(
            f"{doubtful:.0%} of the records look as much like another picture",
            expected="noise through which the holder of a picture can tell its record: otherwise guesses cannot be scored",
            fix="audit a copy that was sealed at a lower step",
            privacy="that is no proof of safety: an attacker need not tell records apart",
        )
    found: np.ndarray = index
    return found
