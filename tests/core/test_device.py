"""Autocasting by name."""

import pytest
import torch

from sfumato.core.device import autocast
from sfumato.core.errors import UserError


@pytest.mark.parametrize(("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_computed_in_the_precision_asked_for(precision, dtype):
    a = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (a @ a).dtype == dtype


def test_another_precision_is_named():
    with pytest.raises(UserError, match="int4"):
        autocast(torch.device("cpu"), "int4")
