"""Low-rank adapters: ``W = W_0 + (lora_alpha / r) B A``, put on a frozen base with PEFT and taken off again.

``(A, B)`` and ``(G A, B G^-1)`` are the same adapter for every invertible G: what it does is ``delta_w`` alone.
Matrices go by *canonical names*, which are those of the files: ``unet.`` or ``text_encoder.text_model.`` and the module's path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sfumato.adapters.conventions import TEXT, UNET
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base

_PEFT_NAME = "sfumato"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """Where the adapter sits and how large it is.

    Attributes:
        rank: r of every matrix pair.
        lora_alpha: the scale is ``lora_alpha / rank``; by default the rank, so that the scale is 1.
        targets: ends of the names of the UNet's linear layers.
        text_targets: the same of the text encoder; empty leaves it as it is.
        text_alpha: ``lora_alpha`` of the text encoder's, by default the same.
    """

    rank: int = 16
    lora_alpha: float | None = None
    targets: tuple[str, ...] = ("to_q", "to_v")
    text_targets: tuple[str, ...] = ("q_proj", "v_proj")
    text_alpha: float | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"rank {self.rank}", expected="at least 1")
        for name in ("lora_alpha", "text_alpha"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{name} {value}", expected="a number above 0")
        if not self.targets and not self.text_targets:
            raise UserError("no targets", expected="names of linear layers, such as to_q and to_v")

    def alpha_of(self, name: str) -> float:
        """``lora_alpha`` of the matrix pair with this canonical name."""
        usual = self.rank if self.lora_alpha is None else self.lora_alpha
        return float(usual if name.startswith(UNET) or self.text_alpha is None else self.text_alpha)


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """An adapter's weights.

    Attributes:
        factors: by canonical name ``A`` ``(r, in)`` and ``B`` ``(out, r)``; of a convolution ``(r, in, h, w)`` and ``(out, r, 1, 1)``.
        alphas: by canonical name, ``lora_alpha``.
        unknown: keys of the file that it was read from which mean nothing here.
    """

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    alphas: dict[str, float]
    unknown: tuple[str, ...] = field(default=())

    @property
    def parameters(self) -> int:
        """How many numbers the adapter holds."""
        return sum(a.numel() + b.numel() for a, b in self.factors.values())

    @property
    def ranks(self) -> dict[str, int]:
        """By canonical name, r."""
        return {name: len(a) for name, (a, _) in self.factors.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By canonical name, the shape of the weight that it adds to, without making what is added."""
        return {name: (len(b), *a.shape[1:]) for name, (a, b) in self.factors.items()}

    def deltas(self) -> dict[str, torch.Tensor]:
        """By canonical name, what is added to the layer's weight, in the weight's own shape."""
        return {name: delta_w(a, b, self.alphas[name], len(a)) for name, (a, b) in self.factors.items()}


def delta_w(a: torch.Tensor, b: torch.Tensor, lora_alpha: float, rank: int) -> torch.Tensor:
    """``(lora_alpha / r) B A``.

    Args:
        a, b: ``(*, r, in)`` and ``(*, out, r)``; of one convolution ``(r, in, h, w)`` and ``(out, r, 1, 1)``.
        lora_alpha, rank: the scale.

    Returns:
        ``(*, out, in)``, or ``(out, in, h, w)``.
    """
    if b.ndim == 4 and b.shape[2:] == (1, 1):
        return lora_alpha / rank * (b.flatten(1) @ a.flatten(1)).unflatten(1, a.shape[1:])
    return lora_alpha / rank * (b @ a)


def linears(base: Base, settings: LoraSettings) -> dict[str, nn.Linear]:
    """By canonical name, the layers that ``settings`` put an adapter on, sorted.

    Raises:
        UserError: a target that no layer answers to, or that is no linear layer.
    """
    found: dict[str, nn.Linear] = {}
    for prefix, model, targets in ((UNET, base.unet, settings.targets), (TEXT, base.text_encoder, settings.text_targets)):
        for target in targets:
            here = {name: module for name, module in _modules(prefix, model) if f".{name}".endswith(f".{target}")}
            other = [name for name, module in here.items() if not isinstance(module, nn.Linear)]
            if other or not here:
                kinds = sorted({name.rpartition(".")[2] for name, module in _modules(prefix, model) if isinstance(module, nn.Linear)})
                got = f"target {target!r}: " + (f"{other[0]} is no linear layer" if other else f"no layer of {prefix[:-1]} has that name")
                raise UserError(got, expected=f"ends of names of linear layers, such as {', '.join(k for k in kinds if not k.isdigit())}")
            found |= here
    return dict(sorted(found.items()))


def initial(layers: dict[str, nn.Linear], settings: LoraSettings, *, generator: torch.Generator) -> Adapter:
    """The adapter before any step: A uniform in +-1/sqrt(in), as PEFT draws it, and B zero, so that nothing is changed yet.

    Whoever knows the generator's seed knows A before training, and with it more than the file says.
    """
    factors = {}
    for name, layer in layers.items():
        bound = layer.in_features**-0.5
        a = (2 * torch.rand((settings.rank, layer.in_features), generator=generator) - 1) * bound
        factors[name] = a.to(layer.weight), torch.zeros((layer.out_features, settings.rank)).to(layer.weight)
    return Adapter(factors=factors, alphas={name: settings.alpha_of(name) for name in factors})


@contextmanager
def attached(base: Base, adapter: Adapter, *, trainable: bool = False) -> Iterator[dict[str, Any]]:
    """Inside, ``base`` computes with the adapter, by PEFT; afterwards it is what it was.

    Args:
        base: its UNet and text encoder are changed in place.
        adapter: a copy of its weights is used.
        trainable: whether gradients are wanted.

    Yields:
        by canonical name, PEFT's layers; ``factors_of`` reads their weights.

    Raises:
        UserError: the adapter is one of another base.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if any(hasattr(model, "peft_config") for model in (base.unet, base.text_encoder)):
        raise UserError("the base carries an adapter already; take that one off first")
    check_fits(adapter, base)
    ranks, layers = adapter.ranks, {}
    base.__dict__.pop("empty_context", None)  # an adapter of the text encoder changes it
    try:
        for prefix, model in ((UNET, base.unet), (TEXT, base.text_encoder)):
            paths = {name: path for name, path in _paths(prefix, model).items() if name in adapter.factors}
            if not paths:
                continue
            patterns = {paths[name]: name for name in paths}
            config = LoraConfig(
                r=next(iter(ranks.values())),
                target_modules=list(patterns),
                rank_pattern={path: ranks[name] for path, name in patterns.items()},
                alpha_pattern={path: adapter.alphas[name] for path, name in patterns.items()},
                init_lora_weights=False,
            )
            inject_adapter_in_model(config, model, adapter_name=_PEFT_NAME, low_cpu_mem_usage=True)  # draws nothing: no storage yet
            for name, path in paths.items():
                layer = model.get_submodule(path)
                for part, value in zip((layer.lora_A, layer.lora_B), adapter.factors[name], strict=True):
                    weight = value.detach().to(layer.get_base_layer().weight, copy=True).contiguous()
                    part[_PEFT_NAME].weight = nn.Parameter(weight, requires_grad=trainable)
                layers[name] = layer
        yield {name: layers[name] for name in adapter.factors}
    finally:
        for model in (base.unet, base.text_encoder):
            _take_off(model)
        base.__dict__.pop("empty_context", None)


def factors_of(layers: dict[str, Any]) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """``A`` and ``B`` of attached layers, the very parameters, by canonical name."""
    return {name: (layer.lora_A[_PEFT_NAME].weight, layer.lora_B[_PEFT_NAME].weight) for name, layer in layers.items()}


def collect(layers: dict[str, Any], alphas: dict[str, float]) -> Adapter:
    """A copy of what attached layers hold, on the CPU."""
    copies = {name: (a.detach().cpu().clone(), b.detach().cpu().clone()) for name, (a, b) in factors_of(layers).items()}
    return Adapter(factors=copies, alphas=dict(alphas))


def check_fits(adapter: Adapter, base: Base) -> None:
    """Raise UserError where the adapter names a layer that ``base`` has not, or of another shape."""
    known = {name: module for prefix, model in ((UNET, base.unet), (TEXT, base.text_encoder)) for name, module in _modules(prefix, model)}
    fix = "pass --base with the base that the adapter was trained on; SDXL, SD 3 and Flux are none that sfumato loads"
    if not adapter.factors:
        raise UserError("an adapter without a single matrix pair", expected="A and B of at least one layer")
    for name, shape in adapter.shapes.items():
        layer = known.get(name)
        if layer is None:
            raise UserError(f"{name}: base {base.public_name!r} has no such layer", expected="an adapter of this base", fix=fix)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise UserError(f"{name}: an adapter of a {type(layer).__name__}", expected="of linear layers and convolutions", fix=fix)
        wanted = tuple(layer.weight.shape)
        if wanted != shape:
            raise UserError(
                f"{name}: an adapter for weights of shape {shape}", expected=f"{wanted}, as base {base.public_name!r} has", fix=fix
            )


def _modules(prefix: str, model: Any) -> Iterator[tuple[str, Any]]:
    """Modules by canonical name. (Some releases of transformers wrap the text encoder's in ``text_model``.)"""
    for path, module in model.named_modules():
        yield prefix + path.removeprefix("text_model."), module


def _paths(prefix: str, model: Any) -> dict[str, str]:
    return {prefix + path.removeprefix("text_model."): path for path, _ in model.named_modules()}


def _take_off(model: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(module, name, child.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
