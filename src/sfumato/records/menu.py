"""A menu: what owners vote on. Centres of clusters of pictures that a server drew, and a few of these pictures.

It comes from outside and holds nothing of anybody: whatever its numbers are, the guarantee of a vote
is the same. It is one safetensors file; its name is its SHA-256, and ballots say which they are for.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.core import registry
from sfumato.core.artifact import from_bytes, metadata_of, sha256, to_bytes
from sfumato.core.errors import RecordError, UserError
from sfumato.core.outside import parse_json, printable, read_bytes
from sfumato.features.embeddings.base import Pictures

KIND, SCHEMA = "sfumato-menu", 1
BYTES = 2**26
CLUSTERS = 1000  # at most
SIDE, SHOWN = 32, 3  # pixels of a thumbnail, and how many a cluster has
BLOCK = 64  # pictures at once
NETWORK = "efficientnet_lite0"
_SHA, _POOL, _WORD = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}"), re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a menu is for.

    Attributes:
        pool: the pool's id.
        round: from 1 up.
        owners: how many are expected to vote: what each can carry depends on it, no guarantee does.
        base: fingerprint of the VAE.
        network: name of the embedding; ``network_fingerprint`` of all that decides its numbers.
    """

    pool: str
    round: int
    owners: int
    base: str
    network: str
    network_fingerprint: str

    def __post_init__(self) -> None:
        numbers = (self.round, self.owners)
        if any(type(one) is not int or not 1 <= one <= 10**6 for one in numbers):
            raise ValueError("round and owners are numbers from 1 up")
        if not _POOL.fullmatch(str(self.pool)) or not _WORD.fullmatch(str(self.network)):
            raise ValueError("a pool or a network that is no plain name")
        if not _SHA.fullmatch(str(self.base)) or not _SHA.fullmatch(str(self.network_fingerprint)):
            raise ValueError("a base or a network without its fingerprint")


@dataclass(frozen=True, eq=False)
class Menu:
    """A menu.

    Attributes:
        about: what it is for.
        centre: float32 ``(D,)``, the mean of the embedded candidates.
        centroids: float32 ``(K, D)``, of candidates that were centred and scaled to norm 1.
        thumbnails: uint8 ``(K, SHOWN, SIDE, SIDE, 3)``, the candidates nearest to each centroid.
        digest: SHA-256 of the file.
    """

    about: About
    centre: np.ndarray
    centroids: np.ndarray
    thumbnails: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.centroids)

    def nearest(self, embedded: np.ndarray) -> np.ndarray:
        """The cluster of each embedded picture ``(N, D)``, int64 ``(N,)``."""
        places = coordinates(embedded, self.centre)
        far = (self.centroids.astype(np.float64) ** 2).sum(axis=1) - 2 * places @ self.centroids.T.astype(np.float64)
        return np.argmin(far, axis=1)

    def sheet(self) -> np.ndarray:
        """All thumbnails, uint8 ``(H, W, 3)``: a row of clusters is as many as fit, each set off by a white border."""
        gap, across = 4, max(1, round((len(self) / SHOWN) ** 0.5))
        tiles = [
            np.pad(np.concatenate(list(tile), axis=1), ((gap, gap), (gap, gap), (0, 0)), constant_values=255)
            for tile in self.thumbnails
        ]  # fmt: skip
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % across)
        return np.concatenate([np.concatenate(tiles[i : i + across], axis=1) for i in range(0, len(tiles), across)])


def coordinates(embedded: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Embedded pictures ``(N, D)`` as clusters see them: centred, and scaled to norm 1; float64."""
    moved = embedded.astype(np.float64) - centre.astype(np.float64)
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def embed(network: str, images: np.ndarray, codec: Pictures) -> np.ndarray:
    """Pictures, uint8 ``(N, H, W, 3)``, by the embedding of this name, float32 ``(N, D)``.

    Raises:
        UserError: no such embedding, or one that gives something else.
    """
    found = np.asarray(_module(network).embed(images, codec))
    if found.ndim != 2 or len(found) != len(images) or not np.isfinite(found).all():
        raise UserError(f"network {network!r}: an embedding of shape {found.shape}", expected=f"finite ({len(images)}, D)")
    return found.astype(np.float32)


def fingerprint(network: str, codec: Pictures) -> str:
    """What decides the numbers of this embedding. Raises UserError for an unknown name."""
    said: str = _module(network).fingerprint(codec)
    return said


def _module(network: str) -> Any:
    return registry.get("features.embeddings", network)


def pack(about: About, centre: np.ndarray, centroids: np.ndarray, thumbnails: np.ndarray) -> bytes:
    """The file of a menu; numbers as ``Menu`` has them."""
    tensors = {
        "centre": torch.from_numpy(centre.astype(np.float32)),
        "centroids": torch.from_numpy(centroids.astype(np.float16)),
        "thumbnails": torch.from_numpy(thumbnails),
    }
    said = json.dumps({"kind": KIND, "schema": SCHEMA, **asdict(about)}, sort_keys=True)
    return to_bytes(tensors, {"menu": said})


def read(path: Path) -> Menu:
    """Read a menu that somebody sent.

    Raises:
        RecordError: not a menu, or one of another schema.
    """
    data = read_bytes(path, what="menu", limit=BYTES)
    try:
        return parse(data, name=str(path))
    except RecordError:
        raise
    except (UserError, TypeError, ValueError, KeyError) as error:
        why = error.got if isinstance(error, UserError) else str(error)
        raise RecordError(
            f"{path}: not a menu ({printable(why)[:300]})", expected="a menu that sfumato evolve wrote", fix="fetch it again"
        ) from error


def parse(data: bytes, *, name: str) -> Menu:
    """The menu in a file's bytes. Raises like ``read``, and ValueError."""
    tensors = from_bytes(data, name=name)
    said = parse_json(metadata_of(data).get("menu", "null"), name=name, what="menu")
    if not isinstance(said, dict) or said.pop("kind", None) != KIND:
        raise RecordError(f"{name}: not a menu", fix="pass a file that sfumato evolve wrote")
    if (schema := said.pop("schema", None)) != SCHEMA:
        raise RecordError(f"{name}: a menu of schema {schema!r}", expected=f"schema {SCHEMA}", fix="use the version that wrote it")
    about = About(**said)
    if set(tensors) != {"centre", "centroids", "thumbnails"}:
        raise ValueError("other tensors than a menu has")
    centre, centroids, thumbnails = (tensors[key] for key in ("centre", "centroids", "thumbnails"))
    kinds = (centre.dtype, centroids.dtype, thumbnails.dtype)
    if kinds != (torch.float32, torch.float16, torch.uint8) or centre.ndim != 1 or not len(centre):
        raise ValueError("tensors of other types than a menu has")
    clusters = len(centroids) if centroids.ndim else 0
    if not 2 <= clusters <= CLUSTERS or centroids.shape != (clusters, len(centre)):
        raise ValueError(f"centroids of shape {tuple(centroids.shape)}")
    if thumbnails.shape != (clusters, SHOWN, SIDE, SIDE, 3):
        raise ValueError(f"thumbnails of shape {tuple(thumbnails.shape)}")
    if not bool(centre.isfinite().all()) or not bool(centroids.isfinite().all()):
        raise ValueError("numbers that are not finite")
    return Menu(about, centre.numpy(), centroids.float().numpy(), thumbnails.numpy(), sha256(data))


def check_fit(menu: Menu, codec: Pictures, *, name: str) -> None:
    """Refuse a menu of another base, or of another network than the one of its name here.

    Raises:
        RecordError: it is; nobody could vote on it here.
    """
    nothing = "nothing was read of your pictures, and no vote was spent"
    if menu.about.base != codec.fingerprint:
        raise RecordError(
            f"{name}: for another base ({menu.about.base[:12]})",
            expected=f"the base in use ({codec.fingerprint[:12]})",
            fix="pass the --base that the pool was started with",
            privacy=nothing,
        )
    here = fingerprint(menu.about.network, codec)
    if menu.about.network_fingerprint != here:
        raise RecordError(
            f"{name}: of another network {menu.about.network!r} ({menu.about.network_fingerprint[:12]})",
            expected=f"the one of this name here ({here[:12]})",
            fix="use the versions of sfumato and of the network that the server has",
            privacy=nothing,
        )
