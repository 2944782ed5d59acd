"""The two owners of every study, and their folders of invented people."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from sfumato.pictures.store import PictureSet

OWNERS = {"studio": "recombined", "clinic": "unseen_part"}


def write_folder(pictures: PictureSet, folder: Path, *, conditions: bool = False) -> Path:
    """Write pictures, their captions and people as an owner's folder, in the imagefolder layout;
    with ``conditions`` these, too."""
    folder.mkdir(parents=True)
    rows = []
    for number, image in enumerate(pictures.images):
        Image.fromarray(image).save(folder / f"{number:04d}.png")
        row = {"file_name": f"{number:04d}.png", "text": pictures.captions[number], "person": pictures.identities[number]}
        if conditions and pictures.conditions is not None:
            row["conditioning_image_file_name"] = f"{number:04d}-condition.png"
            Image.fromarray(pictures.conditions[number]).save(folder / row["conditioning_image_file_name"])
        rows.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder
