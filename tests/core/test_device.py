"""Autocasting by name."""

import pytest
import torch

from sfumato.core.device import autocast, choose_device, choose_precision
from sfumato.core.errors import UserError


@pytest.mark.parametrize(("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_computed_in_the_precision_asked_for(precision, dtype):
    a = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (a @ a).dtype == dtype


def test_another_precision_is_named():
    with pytest.raises(UserError, match="int4"):
        autocast(torch.device("cpu"), "int4")


def test_the_device_may_be_chosen_and_nonsense_is_named(monkeypatch):
    monkeypatch.setenv("SFUMATO_DEVICE", "cpu")
    assert choose_device() == "cpu"
    monkeypatch.setenv("SFUMATO_DEVICE", "toaster")
    with pytest.raises(UserError, match="toaster"):
        choose_device()


@pytest.mark.parametrize(("capability", "precision"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_card_that_only_emulates_bf16_is_not_asked_to(capability, precision, monkeypatch):
    monkeypatch.delenv("SFUMATO_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision() == choose_precision("cuda:1") == precision and choose_precision("cpu") in ("no", "bf16")
    assert choose_device() == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device() == "cuda:1"
