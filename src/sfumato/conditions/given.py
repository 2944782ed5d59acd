"""Conditions that come with the folder: nothing is extracted."""

from __future__ import annotations

import numpy as np

from sfumato.core.errors import UserError

DESCRIPTION = "the folder's own condition pictures"
SUPPLIED = True


def extract(image: np.ndarray, **settings: object) -> np.ndarray:
    """Always raises: a given condition cannot be made from ``image`` uint8 RGB ``(H, W, 3)``.

    Raises:
        UserError: always.
    """
    raise UserError(
        "the condition 'given' cannot be extracted from a picture: it comes with the folder",
        expected="a condition picture beside every picture",
        fix="supply `conditioning_image_file_name` in metadata.jsonl or a folder conditions/, or name an extractor such as 'canny'",
    )
