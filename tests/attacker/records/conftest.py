"""The shipped base and people to be attacked, made once for each module."""

import pytest

from sfumato.diffusion.base import load_base
from tests_support import public_and_private


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module")
def people(tiny):
    """What an attacker may train on, and private people's pictures and latents: ``(public, own, z_0, c)``."""
    return public_and_private(tiny, public=96)
