"""Three folders of pictures that nobody drew for this project, to run ``examples/owner_loop.py`` on, each with a public one beside it.

    python recipes/loop_folders.py emoji PACKAGE --out folders       # PACKAGE: OpenMoji's npm package, unpacked (color/svg in it)
    python recipes/loop_folders.py photos FOLDER --out folders       # FOLDER: wallpapers, such as Debian's packages of backgrounds hold
    python recipes/loop_folders.py avatars --out folders             # people in the style personas, which the tiny base never saw

``emoji``: 600 symbols on white, and 600 others. ``photos``: twelve square parts of each photograph, of which a third of the
photographs makes the public folder. ``avatars``: 600 pictures of people of the pool ``recombined``, four of each draw, with a
``person`` column, and 600 of public people. The same input and seed give the same folders.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, EACH, PARTS = 128, 600, 12
PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp"))


def emoji(package: Path, out: Path, seed: int) -> None:
    """Symbols, flat ones left out."""
    import resvg_py

    svgs = sorted(package.rglob("color/svg/*.svg"))
    random.Random(seed).shuffle(svgs)
    kept = 0
    for svg in svgs:
        drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(), width=SIDE, height=SIDE)))).convert("RGBA")
        ground = Image.new("RGBA", drawn.size, "white")
        ground.alpha_composite(drawn)
        picture = ground.convert("RGB")
        if np.asarray(picture).std() >= 5:
            keep(picture, out / ("emoji" if kept < EACH else "emoji-public") / f"{svg.stem}.png")
            kept += 1
        if kept == 2 * EACH:
            return


def photos(folder: Path, out: Path, seed: int) -> None:
    """Parts of photographs; a photograph that is there in several sizes counts once, and all its parts lie in one folder."""
    draw, seen, whole = random.Random(seed), set(), []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file() and not path.is_symlink()):
        if "screenshot" in path.name:
            continue
        picture = Image.open(path)
        picture.draft("RGB", (1600, 1600))
        picture = picture.convert("RGB")
        picture.thumbnail((1000, 1000))
        sign = np.asarray(picture.resize((8, 8))).tobytes()
        if sign not in seen and min(picture.size) >= 300:
            seen.add(sign)
            whole.append(picture)
    draw.shuffle(whole)
    for number, picture in enumerate(whole):
        place = out / ("photos" if number < len(whole) * 2 // 3 else "photos-public")
        for part in range(PARTS):
            side = draw.randint(180, min(picture.size))
            x, y = (draw.randint(0, span - side) for span in picture.size)
            cut = picture.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            if np.asarray(cut).std() >= 12:
                keep(cut, place / f"{number:03d}-{part:02d}.png")


def avatars(out: Path, seed: int) -> None:
    """People with a column that names them."""
    from sfumato.pictures import store

    for name, pool, more in (("avatars", "recombined", 3), ("avatars-public", "public", 4)):
        drawn, rows = store.load("personas", pool, EACH, seed=seed + more, per_identity=4), []
        for number, (image, person) in enumerate(zip(drawn.images, drawn.identities, strict=True)):
            keep(Image.fromarray(image), out / name / f"{number:04d}.png")
            rows.append(json.dumps({"file_name": f"{number:04d}.png", "person": str(person)}))
        (out / name / "metadata.jsonl").write_text("\n".join(rows) + "\n")


def keep(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("emoji", "photos", "avatars"))
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.kind == "avatars":
        avatars(asked.out, asked.seed)
    elif asked.source is None or not asked.source.is_dir():
        parser.error(f"{asked.kind} wants the folder that its pictures lie in")
    else:
        (emoji if asked.kind == "emoji" else photos)(asked.source, asked.out, asked.seed)


if __name__ == "__main__":
    main()
