"""Pictures unlike those on which a level was measured are known as such, by what encoding shows anyway."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.diffusion.base import load_codec
from sfumato.owner import domain
from sfumato.owner.folder import read_folder
from sfumato.pictures import store
from sfumato.studies.owners import write_folder


@pytest.fixture(scope="module")
def codec():
    return load_codec()


def looked(folder, codec):
    return domain.look(read_folder(folder, size=codec.size, condition="canny"), codec)


def graphics(folder, count=12):
    """Discs with spots on white, as emoji are."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        image = np.full((64, 64, 3), 255, np.uint8)
        for radius in (26, 6, 4):
            place = (32, 32) if radius == 26 else tuple(int(v) for v in draw.integers(16, 48, 2))
            cv2.circle(image, place, radius, tuple(int(v) for v in draw.integers(0, 255, 3)), -1)
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def test_the_own_style_is_near_and_others_are_far(codec, tmp_path):
    near = looked(write_folder(store.load("open-peeps", "recombined", 12, seed=3), tmp_path / "near"), codec)
    far = looked(write_folder(store.load("personas", "public", 12, seed=3), tmp_path / "far"), codec)
    assert not near.far and far.far and near.pictures == far.pictures == 12 and near.beyond < 0.2 < 0.6 < far.beyond
    plain = looked(graphics(tmp_path / "graphics"), codec)
    assert plain.beyond == 1 and plain.by_latents and not plain.by_error  # what is drawn easily is not known by its error
    assert not near.by_error and near.error_beyond < 0.25


def test_what_the_vae_cannot_draw_is_far_by_its_error(codec, make_folder, tmp_path):
    """Blocks of any colours: each decodes to something else."""
    found = looked(make_folder(count=6), codec)
    assert found.by_error and found.far and found.error_beyond > 0.5
    one = domain.Distance(0.0, 1.0, "x", 9, 0.5, 0.1)
    assert one.by_error and one.far and not one.by_latents and not domain.Distance(0.0, 1.0, "x", 9).far


def test_errors_are_those_of_the_decoded_picture(codec):
    images = store.load("open-peeps", "recombined", 3, seed=3).images
    latents = codec.encode_pixels(images)
    decoded = codec.decode_pixels(latents)
    assert domain.errors(decoded, latents, codec) == pytest.approx([0, 0, 0])
    off = np.clip(decoded.astype(int) + 51, 0, 255).astype(np.uint8)
    assert (domain.errors(off, latents, codec) <= 0.2).all() and (domain.errors(images, latents, codec) > 0).all()
    flat = np.zeros_like(images)
    assert domain.errors(flat, latents, codec) == pytest.approx(((decoded / 255.0) ** 2).mean(axis=(1, 2, 3)) ** 0.5)


def test_what_ships_holds_apart_what_it_was_measured_on(codec):
    (found,) = [domain.known(codec.fingerprint)]
    beyond = {name: kind["beyond"] for name, kind in found["measured"].items()}
    near = [value for name, value in beyond.items() if "own style" in name or "parts" in name]
    errors = {name: kind["error"]["beyond"] for name, kind in found["measured"].items()}
    assert max(errors[name] for name in beyond if beyond[name] in near) < domain.MOST / 2 and errors.keys() == beyond.keys()
    assert len(near) == 3 and len(beyond) == 6 and max(near) < domain.MOST < min(value for value in beyond.values() if value not in near)
    mean, precision = np.array(found["mean"]), np.array(found["precision"])
    assert precision.shape == (len(mean), len(mean)) and np.linalg.eigvalsh(precision).min() > 0


def test_a_base_on_which_nothing_was_measured_says_nothing(base, make_folder):
    assert looked(make_folder(count=2), base) is None


def test_pictures_that_cannot_be_read_are_not_looked_at(codec, tmp_path):
    folder = graphics(tmp_path / "g", 3)
    (folder / "0.png").write_bytes(b"damaged")
    assert looked(folder, codec).pictures == 2
    for path in folder.iterdir():
        path.write_bytes(b"damaged")
    assert looked(folder, codec) is None


def test_distances_are_those_of_mahalanobis():
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(4000, 2, 6, 6, generator=draw) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1) + 1
    mean, precision = domain.fit(latents[:3000])
    assert mean == pytest.approx([1, 1, 1, 3], abs=0.05)
    found = domain.distances(latents[3000:], mean, precision)
    assert float((found**2).mean()) == pytest.approx(4, rel=0.1)  # chi squared of as many degrees as statistics
    off = domain.statistics(latents[:1])[0] - mean
    assert found.shape == (1000,) and domain.distances(latents[:1], mean, precision)[0] == pytest.approx((off @ precision @ off) ** 0.5)
