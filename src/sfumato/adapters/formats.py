"""LoRA files: diffusers' own (PEFT's names), and kohya's on request; read from anybody, written with as little beside the weights as works.

Written headers hold rank, alpha and layer names, all of which the tensors show anyway, and never captions, names of folders or
models, counts, times, seeds or settings. What is read is not trusted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from sfumato.adapters import products
from sfumato.adapters.conventions import TEXT, UNET, kohya_name, layer_of, other_kind, other_model, split
from sfumato.adapters.lora import Adapter
from sfumato.core.artifact import from_bytes, metadata_of, read_json, to_bytes, write_atomic
from sfumato.core.errors import UserError
from sfumato.core.header import check_header, header_bytes
from sfumato.core.outside import open_bytes, parse_json

FORMATS = ("diffusers", "kohya")
FILE_BYTES = 2**32
_EXPECTED = "a LoRA as .safetensors"
LARGEST_ALPHA = 1e12
LARGEST_DELTA = 1e18  # added to one weight: far beyond any adapter, and far from what float32 cannot square
_MAKER = "the file is whole as it is; ask whoever made it"
_NAN = f"{_MAKER}; if that is you, train it again with a lower --lr"
_WHOLE = "the file is whole as it is, but sfumato does not read such adapters"
_NOTES = ("lora_adapter_metadata", "adapter_config", "peft_config")  # PEFT's settings; diffusers looks for the first
_CHANGED = ("pissa", "olora", "corda", "loftq", "lora_ga")  # ways to begin that take something off the base's own weights

_OF_BIASES = (".diff_b",)  # what a full difference adds to a bias, which no attack here looks at: named, and left

_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
_CONFIG = "adapter_config.json"  # PEFT's settings, beside its adapter_model.safetensors


def write(adapter: Adapter, path: Path, *, format: str = "diffusers") -> None:
    """Write an adapter whole or not at all.

    Args:
        adapter: what to write.
        path: the file.
        format: ``diffusers``, for ``load_lora_weights``; ``kohya``, for A1111, ComfyUI and the same. (Of a kohya file, diffusers itself
            loads the text encoder's part only where ``out_proj`` or ``fc1`` is among its targets: it tells the format by them.)
    """
    if format not in FORMATS:
        raise UserError(f"format {format!r}", expected=f"one of {', '.join(FORMATS)}")
    tensors: dict[str, torch.Tensor] = {}
    for name, (a, b) in sorted(adapter.factors.items()):
        if format == "diffusers":
            tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        else:
            short = kohya_name(name)
            tensors |= {f"{short}.lora_down.weight": a, f"{short}.lora_up.weight": b, f"{short}.alpha": torch.tensor(adapter.alphas[name])}
    notes = {"format": "pt"} | ({_NOTES[0]: json.dumps(_settings(adapter), sort_keys=True)} if format == "diffusers" else {})
    write_atomic(path, to_bytes(tensors, notes))


def read(path: Path) -> Adapter:
    """Read an adapter of any of the known formats, in float32. Keys that mean nothing here are listed in ``unknown``.

    Beside PEFT's own ``adapter_model.safetensors``, its ``adapter_config.json`` is read for the scale.

    Raises:
        UserError: not such a file; a pair that is not whole, does not fit together or holds values that are no numbers.
    """
    path = Path(path)
    return parse(read_file(path), name=str(path), config=config_beside(path))


def read_file(path: Path) -> bytes:
    """A file's bytes, whole, once its size and header say that they are worth reading: no pipe, no device, nothing huge.

    Raises:
        UserError: no file, larger than any adapter, or a header that does not fit it.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file", expected=_EXPECTED)
    with open_bytes(path, what=_EXPECTED, limit=sys.maxsize) as (file, size):
        if size > FILE_BYTES:
            raise UserError(f"{path}: larger than any adapter ({size} bytes)", expected=f"{_EXPECTED} of at most {FILE_BYTES} bytes")
        start = file.read(9)
        start += file.read(max(0, header_bytes(start) - len(start)))
        check_header(start, name=str(path), size=size)
        return start + file.read(size - len(start))


def config_beside(path: Path) -> dict[str, Any] | None:
    """PEFT's settings beside a file of PEFT's own, where there are any.

    Raises:
        UserError: they cannot be read.
    """
    beside = path.with_name(_CONFIG)
    if path.name != "adapter_model.safetensors" or not beside.exists():
        return None
    settings = read_json(beside, what="PEFT's settings")
    if not isinstance(settings, dict):
        raise UserError(f"{beside}: no object", expected="PEFT's settings as JSON")
    return settings


def parse(data: bytes, *, name: str, config: dict[str, Any] | None = None) -> Adapter:
    """``read`` of a file's bytes; ``name`` names it in errors, ``config`` is PEFT's, where it was beside it."""
    tensors = from_bytes(data, name=name)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    unknown = []
    foreign = other_model(tensors)
    if foreign:
        raise UserError(f"{name}: a LoRA of {foreign[0]} ({foreign[1]})", expected="one of Stable Diffusion 1.x or 2.x", fix=_WHOLE)
    for key, value in tensors.items():
        kind = other_kind(key)
        layer, part = split(key) if kind is None else _of_product(key) if kind in products.KINDS else (None, "")
        if kind and layer is None and not key.endswith(_OF_BIASES):
            raise UserError(
                f"{name}: {key} is part of a {kind} adapter",
                expected="plain LoRA: two matrices for each layer and nothing else",
                fix=_WHOLE,
            )
        if layer is None:
            unknown.append(key)
        elif part in parts.setdefault(layer, {}):
            raise UserError(f"{name}: {layer} has {part} twice, under two names", expected="one A and one B for each layer")
        else:
            parts[layer][part] = value
    if not parts:
        got = f"{name}: no LoRA weights in it" + (f" (its first key is {unknown[0][:80]!r})" if unknown else "")
        raise UserError(got, expected="a LoRA of SD 1.x or 2.x in diffusers', PEFT's or kohya's format")
    said = settings_of(metadata_of(data), name) if config is None else config
    factors, alphas = {}, {}
    for layer, found in sorted(parts.items()):
        if products.PARTS & set(found):
            factors[layer] = products.factors(_change(name, layer, found, said))
            alphas[layer] = float(len(factors[layer][0]))
            _bounded(name, layer, *factors[layer], scale=1.0)
            continue
        factors[layer] = _pair(name, layer, found)
        rank = len(factors[layer][0])
        alphas[layer] = _alpha(name, layer, found["alpha"]) if "alpha" in found else _said_alpha(said, name, layer, rank)
        _bounded(name, layer, *factors[layer], scale=alphas[layer] / rank)
    return Adapter(factors=factors, alphas=alphas, unknown=tuple(sorted(unknown)))


def _of_product(key: str) -> tuple[str | None, str]:
    """The layer and the part of it of a key such as ``lora_unet_x.hada_w1_a``; no name where no model that is read has the layer."""
    stem, _, part = key.removesuffix(".weight").rpartition(".")
    if part not in products.PARTS:  # PEFT's own name of the adapter comes last
        stem, _, part = stem.rpartition(".")
    layer = layer_of(stem) if part in products.PARTS else None
    return (layer, part) if layer else (None, "")


def _change(name: str, layer: str, found: dict[str, torch.Tensor], said: dict[str, Any]) -> torch.Tensor:
    """The change of a layer's weight that is no plain pair, multiplied by what the file or PEFT's settings say."""
    for part, value in found.items():
        if part != "alpha" and (value.dtype not in _FLOATS or not bool(value.float().isfinite().all())):
            raise UserError(f"{name}: {layer} has values in {part} that are no finite numbers", expected="finite numbers", fix=_NAN)
    alpha = _alpha(name, layer, found["alpha"]) if "alpha" in found else None
    scaling = None
    if alpha is None and "r" in said:
        rank = _alpha(name, f"{layer}, r", said["r"])
        scaling = _alpha(name, layer, said.get("alpha", said.get("lora_alpha", rank))) / rank
    parts = {part: value for part, value in found.items() if part != "alpha"}
    change = products.delta(f"{name}: {layer}", parts, scaling=scaling, alpha=alpha)
    if change.ndim not in (2, 4) or not change.numel():
        raise UserError(f"{name}: {layer} changes a weight of shape {tuple(change.shape)}", expected="a matrix or a convolution")
    return change


def _pair(name: str, layer: str, found: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The two factors of a layer, float32, when they are what they should be."""
    missing = [part for part in "AB" if part not in found]
    if missing:
        raise UserError(f"{name}: {layer} has no {missing[0]}", expected="both factors of every layer", fix=_MAKER)
    a, b = found["A"], found["B"]
    plain = a.ndim == b.ndim == 2
    convolution = a.ndim == b.ndim == 4 and b.shape[2:] == (1, 1)
    if not (plain or convolution) or a.shape[0] != b.shape[1] or not a.numel() or not b.numel():
        raise UserError(
            f"{name}: {layer} has A of shape {tuple(a.shape)} and B of shape {tuple(b.shape)}",
            expected="(r, in) and (out, r) with one r, or a convolution's (r, in, h, w) and (out, r, 1, 1)",
        )
    for part, value in (("A", a), ("B", b)):
        if value.dtype not in _FLOATS:
            raise UserError(f"{name}: {layer} has {part} as {value.dtype}", expected="floating-point numbers of 8 to 64 bits")
        if not bool(value.float().isfinite().all()):
            raise UserError(f"{name}: {layer} has values in {part} that are no finite numbers", expected="finite numbers", fix=_NAN)
    return a.float(), b.float()


def _bounded(name: str, layer: str, a: torch.Tensor, b: torch.Tensor, *, scale: float) -> None:
    """Finite factors may still add what is not: no element of the product exceeds this."""
    most = scale * len(a) * float(a.abs().max()) * float(b.abs().max())
    if not most < LARGEST_DELTA:
        raise UserError(
            f"{name}: {layer} may add {most:.0e} to a weight",
            expected=f"at most {LARGEST_DELTA:.0e}",
            fix=f"such weights draw nothing; {_MAKER}",
        )


def _alpha(name: str, layer: str, value: Any) -> float:
    number = value
    if isinstance(value, torch.Tensor):
        number = value.double().item() if value.numel() == 1 and value.dtype in (*_FLOATS, *_NUMBERS) else None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < LARGEST_ALPHA:
        raise UserError(f"{name}: alpha of {layer} is {str(value)[:80]}", expected=f"one number above 0 and below {LARGEST_ALPHA:.0e}")
    return float(number)


def settings_of(notes: dict[str, str], name: str) -> dict[str, Any]:
    """PEFT's settings among a file's notes, by part (``unet.r``) or for the whole file (``r``); empty where there are none.

    Raises:
        UserError: there are, and they are none that can be read.
    """
    for key in _NOTES:
        if key in notes:
            settings = parse_json(notes[key], name=f"{name}, note {key}", what="list of PEFT's settings")
            if not isinstance(settings, dict):
                raise UserError(f"{name}: its note {key} is no object", expected="PEFT's settings as JSON")
            return settings
    return {}


def _said_alpha(settings: dict[str, Any], name: str, layer: str, rank: int) -> float:
    """``lora_alpha`` of a layer by PEFT's settings; where nothing is said it is the rank, as diffusers has it.

    A rank-stabilised adapter's scale is ``lora_alpha / sqrt(rank)``: the value given back is that which, divided by the rank, gives it.
    """
    part, _, path = layer.partition(".")
    path = path.removeprefix("text_model.")

    def said(what: str) -> Any:
        return settings.get(f"{part}.{what}", settings.get(what))

    if said("use_dora") not in (None, False):
        raise UserError(f"{name}: its notes say use_dora: a DoRA adapter", expected="plain LoRA", fix=_WHOLE)
    start = said("init_lora_weights")
    if isinstance(start, str) and start.startswith(_CHANGED):
        raise UserError(
            f"{name}: its notes say that it adds to a base changed by {start[:40]}", expected="a LoRA of a base as it is", fix=_WHOLE
        )
    stable = said("use_rslora")
    if stable not in (None, False, True) or (isinstance(stable, int) and not isinstance(stable, bool)):
        raise UserError(f"{name}: its notes say use_rslora: {str(stable)[:40]}", expected="true or false")
    patterns = said("alpha_pattern")
    patterns = patterns if isinstance(patterns, dict) else {}
    special = [value for key, value in patterns.items() if _ends(path, key)]
    value = special[0] if special else said("lora_alpha")
    alpha = _alpha(name, layer, rank if value is None else value)
    return alpha * rank**0.5 if stable else alpha


def _ends(path: str, pattern: str) -> bool:
    """Whether PEFT's pattern (a regular expression for the end of a path) is the end of this one, as far as it is plain: somebody else's
    expressions are not run."""
    plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".").removeprefix("text_model.")
    return f".{path}".endswith(f".{plain}")


def _settings(adapter: Adapter) -> dict[str, Any]:
    """What diffusers hands to PEFT: the commonest rank and alpha, and where they are others."""
    settings: dict[str, Any] = {}
    for prefix in (UNET, TEXT):
        here = {layer.removeprefix(prefix): layer for layer in adapter.factors if layer.startswith(prefix)}
        if not here:
            continue
        ranks = {path: adapter.ranks[layer] for path, layer in here.items()}
        alphas = {path: adapter.alphas[layer] for path, layer in here.items()}
        rank, lora_alpha = (max(set(values.values()), key=list(values.values()).count) for values in (ranks, alphas))
        part = prefix.partition(".")[0]
        settings |= {
            f"{part}.r": rank,
            f"{part}.lora_alpha": int(lora_alpha) if float(lora_alpha).is_integer() else lora_alpha,
            f"{part}.target_modules": sorted(here),
            f"{part}.rank_pattern": {path: r for path, r in ranks.items() if r != rank},
            f"{part}.alpha_pattern": {path: value for path, value in alphas.items() if value != lora_alpha},
        }
    return settings
