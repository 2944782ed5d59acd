"""The ceiling, and no privacy at all: the server holds pictures, conditions and captions.

Same code path as ``sealed``, with records that are not noised: clean latents, clean conditions, captions with a tenth dropped,
every t. On public pictures it is the arm ``public``, which tells whether private pictures add anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.accounting.accountant import Release
from sfumato.core import registry
from sfumato.diffusion.base import Base, Codec, load_codec
from sfumato.diffusion.schedule import CLEAN
from sfumato.owner.folder import Folder, read_folder
from sfumato.records.reader import Records
from sfumato.schemes._wire import Job, Outcome, Tensors
from sfumato.server.train import Captioned, train

DESCRIPTION = "everything is uploaded in the clear: the ceiling"
CLEAR = tuple(Release(what=what, alpha=1.0, sigma=0.0, clip=None) for what in ("picture", "condition", "caption"))


class Owner:
    """What an owner does: sends its files."""

    load = staticmethod(load_codec)

    def __init__(self, folder: Folder, base: Codec, **others: Any) -> None:
        self.folder = folder

    def send(self, tensors: Tensors) -> Tensors:
        """Every picture, every supplied condition and every caption, as they lie on the disk."""
        sent: Tensors = {}
        for number, example in enumerate(self.folder):
            files = {"picture": example.path.read_bytes(), "caption": example.caption.encode()}
            if example.condition_path is not None:
                files["condition"] = example.condition_path.read_bytes()
            sent |= {f"{number}.{kind}": torch.frombuffer(bytearray(data), dtype=torch.uint8) for kind, data in files.items() if data}
        return sent


def run(job: Job) -> Outcome:
    """Upload everything, then train on it in the clear."""
    peers = job.peers("centralised")
    outcome = Outcome(controlnet=job.out, traffic={owner: peer.traffic for owner, peer in peers.items()}, ledger=CLEAR)
    try:
        for peer in peers.values():
            peer.call("send", asked=False)
    finally:
        outcome.owners = {owner: peer.close() for owner, peer in peers.items()}
    records, captions = from_folders(list(job.folders.values()), job.base, condition=job.condition)
    train(records, job.base, job.out, job.config, captions=captions, on_step=job.on_step)
    job.declare("centralised", outcome.ledger)
    return outcome


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
