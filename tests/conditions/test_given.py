from __future__ import annotations

import numpy as np
import pytest

from sfumato.conditions import given
from sfumato.core.errors import UserError


def test_names_the_column_to_supply() -> None:
    with pytest.raises(UserError, match="conditioning_image_file_name"):
        given.extract(np.zeros((8, 8, 3), np.uint8))
