"""The ceiling, and no privacy at all: the server holds pictures, conditions and captions.

Same code path as ``sealed``, with records that are not noised: clean latents, clean conditions, captions with a tenth dropped,
every t. On public pictures it is the arm ``public``, which tells whether private pictures add anything.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sfumato.core import registry
from sfumato.diffusion.base import Base
from sfumato.diffusion.schedule import CLEAN
from sfumato.owner.folder import Folder, read_folder
from sfumato.records.reader import Records
from sfumato.server.train import Captioned


def from_folders(folders: list[Path], base: Base, *, condition: str) -> tuple[Records, Captioned]:
    """Everything in ``folders``, in the clear."""
    opened: list[Folder] = [read_folder(folder, size=base.size, condition=condition) for folder in folders]
    loaded = [folder.load(example) for folder in opened for example in folder]
    images = np.stack([item.image for item in loaded])
    conditions = np.stack([item.condition for item in loaded])
    return clean(images, conditions, [item.caption for item in loaded], base, condition=condition)


def from_pictures(images: np.ndarray, captions: list[str], base: Base, *, condition: str) -> tuple[Records, Captioned]:
    """uint8 ``(N, H, W, 3)`` pictures and their captions, in the clear."""
    extract = registry.get("conditions", condition).extract
    return clean(images, np.stack([extract(image) for image in images]), captions, base, condition=condition)


def clean(images: np.ndarray, conditions: np.ndarray, captions: list[str], base: Base, *, condition: str) -> tuple[Records, Captioned]:
    """Records without noise, and the captions' contexts in the same order."""
    z_0, c = base.encode_pixels(images), base.encode_pixels(conditions)
    steps = torch.full((len(images),), CLEAN)
    context = torch.cat([base.embed(captions[i : i + 64]) for i in range(0, len(captions), 64)])
    return Records(z_0, c, steps, steps.clone(), (), (), condition), Captioned(context)
