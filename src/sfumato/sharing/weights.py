"""What a header's tensors say by being there: of which model, which kind of adapter, how large. No value is read."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

from sfumato.adapters import conventions
from sfumato.core.header import Header
from sfumato.sharing.finding import shortened

_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_WHOLE = (  # by the beginnings of names, what a file without an adapter holds
    ("a ControlNet", ("controlnet_down_blocks.", "controlnet_cond_embedding.", "control_model.")),
    ("a whole checkpoint", ("model.diffusion_model.", "cond_stage_model.", "conditioner.")),
    ("a VAE", ("decoder.conv_in", "first_stage_model.", "encoder.conv_in")),
    ("a UNet", ("down_blocks.", "time_embedding.")),
    ("a diffusion transformer", ("transformer_blocks.", "double_blocks.", "joint_blocks.", "single_transformer_blocks.")),
    ("a text encoder", ("text_model.", "text_projection")),
)  # fmt: skip
LATENTS = ("latents", "latent", "z_n", "c_m")  # in the names of what caches hold
UNKNOWN = "tensors"
MEMORY = ("exp_avg", "momentum_buffer", "optimizer.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """What a file holds.

    Attributes:
        kinds: kinds of adapter, by how many tensors are of each; empty where it is none.
        family: of the base, where names or shapes tell.
        what: what it is, where it is no adapter: ``a ControlNet``, ``cached latents``.
        ranks: of layers with two factors, by how many layers have each.
        layers: that an adapter changes.
        parameters: numbers in all.
        types: of the tensors.
        unknown: names of tensors that belong to no layer that is known.
    """

    kinds: dict[str, int]
    family: str | None
    what: str
    ranks: dict[int, int]
    layers: int
    parameters: int
    types: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def said(self) -> str:
        """One line: ``Stable Diffusion 1.x, LoRA, rank 16, 192 layers, F16``."""
        if not self.kinds:
            count = f"{self.parameters / 1e6:.3g} million" if self.parameters >= 1e5 else str(self.parameters)
            return ", ".join(part for part in (self.what, f"{count} numbers" if self.parameters else "", "/".join(self.types)) if part)
        ranks = sorted(self.ranks)
        span = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}" if ranks else ""
        layers = f"{self.layers} layer" + ("s" if self.layers != 1 else "")
        parts = [self.family or "of a base that its names do not tell", " and ".join(self.kinds), span, layers, "/".join(self.types)]
        if self.unknown:
            parts.append(f"and {len(self.unknown)} of no layer that is known: {', '.join(shortened(self.unknown))}")
        return ", ".join(part for part in parts if part)


def of_header(header: Header) -> Weights:
    """What the tensors of ``header`` are."""
    kinds, layers, ranks, unknown = Counter[str](), set[str](), Counter[int](), []
    for name, (_, shape) in header.tensors.items():
        if kind := conventions.other_kind(name):
            kinds[kind] += 1
            layers.add(_stem(name))
            continue
        stem, part = conventions.suffix(name)
        if not part or name.startswith(CHOSEN):
            unknown.append(name)
            continue
        layers.add(stem)
        if part == "A" and len(shape) >= 2:
            kinds["LoRA"] += 1
            ranks[shape[0]] += 1
    shapes = {name: shape for name, (_, shape) in header.tensors.items()}
    what = "" if kinds else _whole(header)
    return Weights(
        kinds=dict(kinds.most_common()), family=conventions.family(shapes) if kinds else None, what=what,
        ranks=dict(sorted(ranks.items())), layers=len(layers) if kinds else 0,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        types=tuple(sorted({kind for kind, _ in header.tensors.values()})), unknown=tuple(sorted(unknown)) if kinds else (),
    )  # fmt: skip


_ADAPTER = re.compile(r"\.lora_[AB]\.([\w-]+)\.weight$")  # what PEFT's user called the adapter
CHOSEN = ("bundle_emb.",)  # before a name that somebody chose


def chosen_names(header: Header) -> list[str]:
    """Names that somebody chose, in names of tensors."""
    chosen = {name.removeprefix(start).partition(".")[0] for start in CHOSEN for name in header.tensors if name.startswith(start)}
    chosen |= {found[1] for name in header.tensors if (found := _ADAPTER.search(name)) and found[1] != "default"}
    return sorted(chosen)


def _stem(name: str) -> str:
    """A tensor's layer, where its part is the last or the one before ``weight``."""
    return name.removesuffix(".weight").rpartition(".")[0]


def _whole(header: Header) -> str:
    names = list(header.tensors)
    if any(part in name for name in names for part in MEMORY):
        return "an optimiser's memory"
    if names and all(name.split("_")[0].split(".")[0] in LATENTS for name in names):
        return "cached latents"
    for what, starts in _WHOLE:
        if any(name.startswith(starts) for name in names):
            return what
    return UNKNOWN if names else "no tensors"
