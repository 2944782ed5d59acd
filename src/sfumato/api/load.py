"""``load_base``, ``load_records``, ``load_controlnet``: what others wrote, checked as it is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sfumato.api._common import codec_of
from sfumato.core.device import choose_device
from sfumato.diffusion import base as bases
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base, Codec
from sfumato.records import reader
from sfumato.records.reader import Records


def load_base(name: str | Path = bases.DEFAULT, *, device: str | None = None) -> Base:
    """Load a base model once, to hand it to several verbs.

    Args:
        name: ``tiny``, which ships with the library; a folder in diffusers' layout; or a hub id of
            SD 1.x / 2.x.
        device: where its networks live; None for the best that this machine has.

    Returns:
        The base in float32: ``size`` is the side of its pictures in pixels, ``latent_shape`` is
            ``(4, h, w)``.

    Raises:
        UserError: no diffusers pipeline, or one of another family.

    Examples:
        >>> base = sfumato.load_base(folder)
        >>> base.size, base.latent_shape
        (32, (4, 8, 8))
    """
    return bases.load_base(str(name), device=choose_device() if device is None else device)


def load_records(
    folders: str | Path | Iterable[str | Path], *, base: str | Path | Codec = bases.DEFAULT, ignore_unlisted: bool = False
) -> Records:  # fmt: skip
    """Read records that ``seal`` wrote, and check them.

    Signatures, hashes, owners' keys as far as they are known, and the base are checked. Nothing is
    remembered of an owner here; ``train`` does that.

    Args:
        folders: one folder, or one for each release.
        base: the base that they were sealed for, by name or as it was loaded.
        ignore_unlisted: go on without shards that no manifest lists.

    Returns:
        The records of all owners: ``z_n`` and ``c_m`` of shape ``(N, 4, h, w)``, float32, read from
            the disk when they are
        indexed; ``n`` and ``m``, the steps of their noise, ``(N,)``, -1 for none. ``refused`` says
        which shards were bad, and why.

    Raises:
        RecordError: a manifest that cannot be believed, or of another base.
        UserError: no records, or trial records.

    Examples:
        >>> records = sfumato.load_records("records", base=base)
        >>> len(records), tuple(records.z_n[:].shape)
        (4, (4, 4, 8, 8))
    """
    paths = [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
    return reader.load(paths, codec=codec_of(base), ignore_unlisted=ignore_unlisted)


def load_controlnet(folder: str | Path, *, vae: Any = None) -> Any:
    """Load a trained ControlNet for diffusers' own ``StableDiffusionControlNetPipeline``.

    It takes an ordinary RGB condition, and reads no prompt: it was trained without captions.

    Args:
        folder: what ``train`` wrote.
        vae: the base's VAE, ``load_base(...).vae``; needed for every base but the one that ships.

    Returns:
        A diffusers ``ControlNetModel``.

    Raises:
        UserError: no such folder, or a base that has to be named.

    Examples:
        >>> model = sfumato.load_controlnet("controlnet", vae=base.vae)
        >>> type(model).__name__
        'ControlNetModel'
    """
    return nets.load_controlnet(folder, vae=vae)
