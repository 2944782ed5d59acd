"""LoRA files: diffusers' own (PEFT's names), and kohya's on request; read from anybody, written with as little beside the weights as works.

Written headers hold rank, alpha and layer names, all of which the tensors show anyway, and never captions, names of folders or
models, counts, times, seeds or settings. What is read is not trusted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from sfumato.adapters.lora import TEXT, UNET, Adapter
from sfumato.core.artifact import from_bytes, metadata_of, to_bytes, write_atomic
from sfumato.core.errors import UserError

FORMATS = ("diffusers", "kohya")
FILE_BYTES = 2**32
LARGEST_ALPHA = 1e12
_NAN = "fetch the file again; if it is yours, train it again with a lower --lr"
_NOTES = "lora_adapter_metadata"  # where diffusers looks for PEFT's settings
_KOHYA = {UNET: "lora_unet_", TEXT: "lora_te_text_model_"}

# How the two factors of a layer are called, and its alpha: diffusers with PEFT, diffusers before, kohya.
_SUFFIXES = {
    ".lora_A.weight": "A", ".lora_B.weight": "B", ".lora.down.weight": "A", ".lora.up.weight": "B", "_lora.down.weight": "A",
    "_lora.up.weight": "B", ".lora_linear_layer.down.weight": "A", ".lora_linear_layer.up.weight": "B", ".lora_down.weight": "A",
    ".lora_up.weight": "B", ".alpha": "alpha",
}  # fmt: skip
_OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "lora_mid": "LoCon (CP)",
}
# kohya writes every dot as an underscore; these are the words that had one before.
_WORDS = (
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out",
    "time_emb_proj", "time_embedding", "linear_1", "linear_2", "conv_in", "conv_out", "conv_shortcut", "self_attn", "q_proj", "k_proj",
    "v_proj", "out_proj", "token_embedding",
)  # fmt: skip


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
            short = _kohya_name(name)
            tensors |= {f"{short}.lora_down.weight": a, f"{short}.lora_up.weight": b, f"{short}.alpha": torch.tensor(adapter.alphas[name])}
    notes = {"format": "pt"} | ({_NOTES: json.dumps(_settings(adapter), sort_keys=True)} if format == "diffusers" else {})
    write_atomic(path, to_bytes(tensors, notes))


def read(path: Path) -> Adapter:
    """Read an adapter of any of the known formats, in float32. Keys that mean nothing here are listed in ``unknown``.

    Raises:
        UserError: not such a file; a pair that is not whole, does not fit together or holds values that are no numbers.
    """
    path = Path(path)
    try:
        if not path.is_file() or path.stat().st_size > FILE_BYTES:
            raise UserError(f"{path}: {'larger than any adapter' if path.is_file() else 'no such file'}", expected="a LoRA as .safetensors")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: could not be read ({error.strerror})", expected="a LoRA as .safetensors") from error
    return parse(data, name=str(path))


def parse(data: bytes, *, name: str) -> Adapter:
    """``read`` of a file's bytes; ``name`` names it in errors."""
    tensors = from_bytes(data, name=name)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    unknown = []
    for key, value in tensors.items():
        kind = next((said for mark, said in _OTHER_KINDS.items() if mark in key), None)
        if kind:
            raise UserError(f"{name}: {key} is part of a {kind} adapter", expected="plain LoRA: two matrices for each layer")
        layer, part = _split(key)
        if layer is None:
            unknown.append(key)
        elif part in parts.setdefault(layer, {}):
            raise UserError(f"{name}: {layer} has {part} twice, under two names", expected="one A and one B for each layer")
        else:
            parts[layer][part] = value
    if not parts:
        got = f"{name}: no LoRA weights in it" + (f" (its first key is {unknown[0][:80]!r})" if unknown else "")
        raise UserError(got, expected="a LoRA of SD 1.x or 2.x in diffusers', PEFT's or kohya's format")
    said = _alphas(metadata_of(data).get(_NOTES), name)
    factors, alphas = {}, {}
    for layer, found in sorted(parts.items()):
        factors[layer] = _pair(name, layer, found)
        rank = len(factors[layer][0])
        alphas[layer] = _alpha(name, layer, found["alpha"]) if "alpha" in found else said(layer, rank)
    return Adapter(factors=factors, alphas=alphas, unknown=tuple(sorted(unknown)))


def _pair(name: str, layer: str, found: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The two factors of a layer, float32, when they are what they should be."""
    missing = [part for part in "AB" if part not in found]
    if missing:
        raise UserError(f"{name}: {layer} has no {missing[0]}", expected="both factors of every layer", fix="fetch the file again")
    a, b = found["A"], found["B"]
    plain = a.ndim == b.ndim == 2
    convolution = a.ndim == b.ndim == 4 and b.shape[2:] == (1, 1)
    if not (plain or convolution) or a.shape[0] != b.shape[1] or not a.numel() or not b.numel():
        raise UserError(
            f"{name}: {layer} has A of shape {tuple(a.shape)} and B of shape {tuple(b.shape)}",
            expected="(r, in) and (out, r) with one r, or a convolution's (r, in, h, w) and (out, r, 1, 1)",
        )
    for part, value in (("A", a), ("B", b)):
        if not value.is_floating_point():
            raise UserError(f"{name}: {layer} has {part} as {value.dtype}", expected="floating-point numbers")
        if not bool(value.float().isfinite().all()):
            raise UserError(f"{name}: {layer} has values in {part} that are no finite numbers", expected="finite numbers", fix=_NAN)
    return a.float(), b.float()


def _alpha(name: str, layer: str, value: Any) -> float:
    number = value.float().item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < LARGEST_ALPHA:
        raise UserError(f"{name}: alpha of {layer} is {str(value)[:80]}", expected="one number above 0")
    return float(number)


def _alphas(notes: str | None, name: str) -> Any:
    """Reads ``(layer, rank)`` to ``lora_alpha`` by PEFT's settings; where nothing is said it is the rank, as diffusers has it."""
    try:
        settings = json.loads(notes) if notes else {}
        if not isinstance(settings, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: its notes {_NOTES} cannot be read ({error})", expected="PEFT's settings as JSON") from error

    def alpha(layer: str, rank: int) -> float:
        part, _, path = layer.partition(".")
        patterns = settings.get(f"{part}.alpha_pattern")
        patterns = patterns if isinstance(patterns, dict) else {}
        special = [value for key, value in patterns.items() if f".{path}".endswith(f".{key.removeprefix('^')}")]
        return _alpha(name, layer, special[0] if special else settings.get(f"{part}.lora_alpha", rank))

    return alpha


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


def _split(key: str) -> tuple[str | None, str]:
    """A file's key to the layer's canonical name and the part of it; no name where the key is unknown."""
    stem, part = next(((key.removesuffix(end), part) for end, part in _SUFFIXES.items() if key.endswith(end)), (key, ""))
    if not part:
        return None, ""
    for prefix, short in (*_KOHYA.items(), (TEXT, "lora_te1_text_model_")):
        if stem.startswith(short):
            return prefix + _dotted(stem.removeprefix(short)), part
    stem = stem.removeprefix("base_model.model.").replace(".processor.", ".")
    if stem.startswith(UNET):
        return re.sub(r"\.to_out$", ".to_out.0", stem), part
    if stem.startswith("text_encoder."):
        path = stem.removeprefix("text_encoder.").removeprefix("text_model.")
        return TEXT + re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", path), part
    return None, ""


def _kohya_name(layer: str) -> str:
    prefix = UNET if layer.startswith(UNET) else TEXT
    return _KOHYA[prefix] + layer.removeprefix(prefix).replace(".", "_")


def _dotted(flat: str) -> str:
    """kohya's underscores to dots, but for those that belong to a word."""
    for word in _WORDS:
        flat = re.sub(rf"(^|_){word}(?=_|$)", lambda found, word=word: found[1] + word.replace("_", "\0"), flat)  # type: ignore[misc]
    return flat.replace("_", ".").replace("\0", "_")
