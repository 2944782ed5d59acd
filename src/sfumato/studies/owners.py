"""The two owners of every study, and their folders of invented people."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from sfumato.pictures.store import PictureSet

OWNERS = {"studio": "recombined", "clinic": "unseen_part"}


def write_folder(pictures: PictureSet, folder: Path) -> Path:
    """Write pictures, their captions and people as an owner's folder, in the imagefolder layout."""
    folder.mkdir(parents=True)
    rows = []
    for number, image in enumerate(pictures.images):
        Image.fromarray(image).save(folder / f"{number:04d}.png")
        row = {"file_name": f"{number:04d}.png", "text": pictures.captions[number], "person": pictures.identities[number]}
        rows.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder
