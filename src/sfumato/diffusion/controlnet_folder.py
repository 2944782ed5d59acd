"""A trained ControlNet's folder: ``config.json`` and weights as stock diffusers has them, and our settings, ``sfumato.json``.

A folder comes from anybody. Its configuration is checked entry by entry, the model is built without storage, and the tensors' names and
shapes are held against it, before a weight is read: what does not fit together takes no memory.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sfumato.core.artifact import as_usual, from_bytes, read_json, sync_file, write_json
from sfumato.core.errors import UserError
from sfumato.core.header import NO_PICKLE, check_header, header_bytes, read_header
from sfumato.core.outside import open_bytes

SETTINGS = "sfumato.json"
CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHT_BYTES = 2**33  # SD 2.1's ControlNet takes 1.5e9 in float32
ACTIVATIONS = ("symsigmoid", "identity")
_FIX = "fetch the folder again, or run sfumato train again"
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_SCALE = 100.0  # of a condition


def save_controlnet(model: Any, folder: Path, settings: dict[str, Any]) -> None:
    """Write a stock ``ControlNetModel`` and its settings. The settings come last: a folder without them is unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    for stray in folder.glob(".model.*.partial"):  # of a run that was killed while it wrote
        shutil.rmtree(stray)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model.", suffix=".partial") as aside:
        model.save_pretrained(aside)
        (folder / SETTINGS).unlink(missing_ok=True)
        for path in Path(aside).iterdir():
            as_usual(path)  # safetensors writes for its owner's eyes alone
            sync_file(path)
            os.replace(path, folder / path.name)
    write_json(folder / SETTINGS, settings)


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """A folder's ``ControlNetModel`` in float32, and its settings.

    Raises:
        UserError: anything in it is missing, damaged, of another kind or does not fit together; names the file.
    """
    folder = Path(folder)
    settings = _json(folder / SETTINGS, "trained ControlNet (sfumato.json)")
    check_settings(folder / SETTINGS, settings)
    model = _built(folder / CONFIG)
    weights = _weights(folder / WEIGHTS, {name: tuple(value.shape) for name, value in model.state_dict().items()})
    model.load_state_dict(weights, assign=True)
    return model, settings


def _json(path: Path, what: str) -> Any:
    try:
        return read_json(path, what=what)
    except UserError as error:
        if path.exists():
            raise _refused(path, error.got.removeprefix(f"{path}: ")) from error
        raise


def _refused(path: Path, why: str, *, fix: str = _FIX) -> UserError:
    return UserError(f"{path}: not a ControlNet ({why})", expected="what sfumato train wrote there, unchanged", fix=fix)


# ---------------------------------------------------------------------------------------- settings


def check_settings(path: Path, settings: Any) -> None:
    """Raise UserError unless these are settings as ``describe`` gives them; ``path`` is their file."""
    base = settings.get("base") if isinstance(settings, dict) else None
    checks: dict[str, bool] = {"base": isinstance(base, dict)}
    if isinstance(settings, dict) and isinstance(base, dict):
        checks |= {f"base.{name}": isinstance(base.get(name), str) and len(base[name]) < 1000 for name in ("name", "fingerprint", "unet")}
        checks |= {
            "base.local": type(base.get("local", False)) is bool,
            "kind": settings.get("kind") == "sfumato-controlnet",
            "condition": isinstance(settings.get("condition"), str),
            "condition_scale": _within(settings.get("condition_scale"), 0, _SCALE),
            "control_guidance_end": _within(settings.get("control_guidance_end"), 0, 1),
            "context": settings.get("context") in ("zeros", "captions"),
            "activation": settings.get("activation") in (None, *ACTIVATIONS),
        }
    wrong = [name for name, good in checks.items() if not good]
    if wrong:
        raise _refused(path, f"not the settings of one of ours: {wrong[0]}")


def _within(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


# ---------------------------------------------------------------------------------------- configuration


def _count(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 0 < value <= most


def _counts(most: int, *, length: int = 6) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and 0 < len(value) <= length and all(_count(most)(one) for one in value)


def _either(*kinds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(kind(value) for kind in kinds)


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(known) and value == known for known in values)


_FLAG = _one_of(True, False)
_NOTHING = _one_of(None)
# What an entry may be, as far as Stable Diffusion 1.x and 2.x have it. Sizes are bounded: a model is built by them.
_ENTRIES: dict[str, Callable[[Any], bool]] = {
    "in_channels": _one_of(4),
    "conditioning_channels": _count(16),
    "flip_sin_to_cos": _FLAG,
    "freq_shift": _one_of(0, 1),
    "down_block_types": lambda value: (
        isinstance(value, list) and 0 < len(value) <= 6 and all(_one_of("DownBlock2D", "CrossAttnDownBlock2D")(one) for one in value)
    ),
    "mid_block_type": _one_of("UNetMidBlock2DCrossAttn"),
    "only_cross_attention": _either(_FLAG, lambda value: isinstance(value, list) and len(value) <= 6 and all(map(_FLAG, value))),
    "block_out_channels": _counts(4096),
    "layers_per_block": _count(4),
    "downsample_padding": _one_of(0, 1),
    "mid_block_scale_factor": lambda value: _within(value, 1e-3, 1e3),
    "act_fn": _one_of("silu", "swish", "mish", "gelu", "relu"),
    "norm_num_groups": _count(256),
    "norm_eps": lambda value: _within(value, 1e-12, 1),
    "cross_attention_dim": _count(8192),
    "transformer_layers_per_block": _either(_count(4), _counts(4)),
    "encoder_hid_dim": _NOTHING,
    "encoder_hid_dim_type": _NOTHING,
    "attention_head_dim": _either(_count(1024), _counts(1024)),
    "num_attention_heads": _either(_NOTHING, _count(1024), _counts(1024)),
    "use_linear_projection": _FLAG,
    "class_embed_type": _NOTHING,
    "addition_embed_type": _NOTHING,
    "addition_time_embed_dim": _NOTHING,
    "num_class_embeds": _NOTHING,
    "upcast_attention": _FLAG,
    "resnet_time_scale_shift": _one_of("default", "scale_shift"),
    "projection_class_embeddings_input_dim": _NOTHING,
    "controlnet_conditioning_channel_order": _one_of("rgb", "bgr"),
    "conditioning_embedding_out_channels": _counts(4096),
    "global_pool_conditions": _FLAG,
    "addition_embed_type_num_heads": _count(1024),
}


def _built(path: Path) -> Any:
    """The model that a ``config.json`` describes, without storage."""
    from diffusers import ControlNetModel

    said = _json(path, "ControlNet's configuration")
    if not isinstance(said, dict) or said.get("_class_name") != "ControlNetModel":
        raise _refused(path, "its _class_name is not ControlNetModel")
    wrong = [name for name, good in _ENTRIES.items() if name in said and not good(said[name])]
    if wrong:
        raise _refused(path, f"{wrong[0]} is {str(said[wrong[0]])[:80]}")
    entries = {name: said[name] for name in _ENTRIES if name in said}
    missing = [name for name in ("block_out_channels", "down_block_types", "cross_attention_dim") if name not in entries]
    if missing:
        raise _refused(path, f"no {missing[0]}")
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return ControlNetModel(**entries)
    except (ValueError, TypeError, RuntimeError, IndexError, KeyError, AttributeError, ArithmeticError, NotImplementedError) as error:
        raise _refused(path, f"{type(error).__name__}: {str(error)[:120]}") from error


# ---------------------------------------------------------------------------------------- weights


def _weights(path: Path, wanted: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The tensors of a file whose names and shapes are the ``wanted`` ones, in float32."""
    others = sorted(other.name for pattern in ("*.bin", "*.ckpt", "*.pt", "*.pth") for other in path.parent.glob(pattern))
    if not path.exists() and others:
        raise _refused(path, f"there is {others[0]} in its place", fix=NO_PICKLE)
    try:
        with open_bytes(path, what="ControlNet's weights", limit=WEIGHT_BYTES) as (file, size):
            start = file.read(9)
            start += file.read(max(0, header_bytes(start) - len(start)))
            check_header(start, name=str(path), size=size)
            _check_shapes(path, {name: shape for name, (_, shape) in read_header(start, size=size).tensors.items()}, wanted)
            tensors = from_bytes(start + file.read(size - len(start)), name=str(path))
    except UserError as error:
        raise (
            error if "not a ControlNet" in error.got else _refused(path, error.got.removeprefix(f"{path}: "), fix=error.fix or _FIX)
        ) from error
    for name, value in tensors.items():
        if value.dtype not in _FLOATS:
            raise _refused(path, f"{name} is of {value.dtype}")
        if not bool(value.float().isfinite().all()):
            raise _refused(path, f"{name} holds values that are no finite numbers")
    return {name: value.float() for name, value in tensors.items()}


def _check_shapes(path: Path, found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    for names, what in ((wanted.keys() - found.keys(), "its weights lack"), (found.keys() - wanted.keys(), "its weights have in excess")):
        if names:
            raise _refused(path, f"{what} {min(names)[:200]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    for name, shape in wanted.items():
        if found[name] != shape:
            raise _refused(path, f"{name} is {found[name]}, {math.prod(found[name])} numbers; {CONFIG} speaks of {shape}")


def check_fits(model: Any, base: Any) -> None:
    """Raise UserError unless a ControlNet's residuals are those that this base's UNet takes."""
    for name in (
        "block_out_channels",
        "down_block_types",
        "layers_per_block",
        "cross_attention_dim",
        "attention_head_dim",
        "num_attention_heads",
    ):
        ours, wanted = (getattr(one.config, name) for one in (model, base.unet))
        if (list(ours) if isinstance(ours, list | tuple) else ours) != (list(wanted) if isinstance(wanted, list | tuple) else wanted):
            raise UserError(
                f"not a ControlNet for base {base.public_name!r} ({CONFIG}: {name} is {ours})",
                expected=f"{wanted}",
                fix="pass another --base",
            )
    if model.config.conditioning_channels != 4:
        raise UserError(f"not a ControlNet of ours ({CONFIG}: a condition of {model.config.conditioning_channels} channels)", expected="4")
