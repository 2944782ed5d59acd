"""What tests of votes share: a menu of four plain colours, and folders of pictures in them, by person."""

import json

import numpy as np
from PIL import Image

from sfumato.records import menu as menus

COLOURS = np.array([[230, 30, 30], [30, 230, 30], [30, 30, 230], [230, 230, 30]], np.uint8)
POOL = "a" * 32


def picture(colour, seed=0, side=32):
    """A noisy plain picture, uint8 ``(side, side, 3)``; no two of different seeds are the same."""
    noise = np.random.default_rng(seed).integers(-20, 21, (side, side, 3))
    return np.clip(COLOURS[colour] + noise, 0, 255).astype(np.uint8)


def menu_bytes(codec, *, pool=POOL, round=1, owners=1, network="pixels", **about):
    """The file of a menu whose clusters are ``COLOURS``."""
    embedded = menus.embed(network, np.stack([picture(k, 100 + k) for k in range(len(COLOURS))]), codec)
    centre = embedded.mean(axis=0)
    fields = {
        "pool": pool, "round": round, "owners": owners, "base": codec.fingerprint, "network": network,
        "network_fingerprint": menus.fingerprint(network, codec), **about,
    }  # fmt: skip
    shown = np.broadcast_to(COLOURS[:, None, None, None], (len(COLOURS), menus.SHOWN, menus.SIDE, menus.SIDE, 3))
    return menus.pack(menus.About(**fields), centre, menus.coordinates(embedded, centre), shown.copy())


def menu_of(codec, **about):
    """The menu itself."""
    return menus.parse(menu_bytes(codec, **about), name="menu")


def write_folder(folder, colours, *, people=None, seed=0):
    """A folder with a picture for each of ``colours``; ``people`` names who is on it, in the same order."""
    folder.mkdir()
    rows = []
    for i, colour in enumerate(colours):
        Image.fromarray(picture(colour, 1000 * seed + i)).save(folder / f"{i}.png")
        rows.append({"file_name": f"{i}.png"} | ({} if people is None else {"person": people[i]}))
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder
