import numpy as np
import torch

from sfumato.schemes import centralised


def test_the_clear_arm_holds_clean_latents_and_aligned_captions(base, make_folder):
    records, captions = centralised.from_folders([make_folder(count=5), make_folder("b", count=3, seed=1)], base, condition="canny")
    assert len(records) == 8 and set(records.n.tolist()) == {-1} == set(records.m.tolist())
    assert captions.context.shape[0] == 8
    assert torch.allclose(captions.context[5], base.embed(["caption-of-0"])[0], atol=1e-5)


def test_pictures_and_folders_give_the_same_latents(base):
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    records, _ = centralised.from_pictures(images, ["a", "b"], base, condition="canny")
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(records.z_n, base.encode(x), atol=1e-5)
