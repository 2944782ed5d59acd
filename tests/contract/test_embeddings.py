"""What every registered embedding must keep to."""

import re

import numpy as np
import pytest

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.records import menu as menus

NAMES = registry.names("features.embeddings")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def test_the_known_ones_are_registered():
    assert {"efficientnet_lite0", "pixels", "latent"} <= set(NAMES) and menus.NETWORK in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_embeds_each_picture_by_itself_and_the_same_each_time(name, base):
    module = registry.get("features.embeddings", name)
    assert isinstance(module.DESCRIPTION, str)
    before = IMAGES.copy()
    found = menus.embed(name, IMAGES, base)
    assert found.dtype == np.float32 and found.shape[0] == 3 and np.array_equal(IMAGES, before)
    assert np.allclose(menus.embed(name, IMAGES[1:2], base), found[1:2], atol=1e-4)
    assert np.linalg.norm(found[0] - found[1]) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_its_fingerprint_is_a_digest_and_the_same_each_time(name, base):
    first, second = (menus.fingerprint(name, base) for _ in range(2))
    assert first == second and re.fullmatch("[0-9a-f]{64}", first)


def test_fingerprints_differ():
    class Codec:
        fingerprint = "a"

    assert len({menus.fingerprint(name, Codec()) for name in NAMES}) == len(NAMES)


def test_an_embedding_that_gives_something_else_is_named(plug_in, base):
    source = (
        "import numpy as np\nDESCRIPTION = ''\n"
        "def fingerprint(codec): return '0' * 64\ndef embed(images, codec): return np.full((1, 2), np.nan)\n"
    )
    plug_in({"sfumato.features.embeddings": {"bad": "bad_module"}}, bad_module=source)
    with pytest.raises(UserError, match="'bad'.*shape"):
        menus.embed("bad", IMAGES, base)
    with pytest.raises(UserError, match="unknown name 'nobody'"):
        menus.embed("nobody", IMAGES, base)
