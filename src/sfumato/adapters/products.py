"""Adapters whose weight change is a product of more than two matrices: LoHa, LoKr, LoCon with a core, and full differences.

Each is materialised as the change of the weight that it stands for, which takes nothing of the
base. Kinds that scale or turn the base's own weight (DoRA, GLoRA, OFT, BOFT, IA3) are not here:
without the base there is no change to speak of.

Sources: LoHa arXiv 2108.06098, LoKr and LoCon arXiv 2309.14859; the order of axes is that of LyCORIS
and PEFT. Notation: a layer's weight is ``(out, in)`` or a convolution's ``(out, in, h, w)``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from sfumato.core.errors import UserError

Parts = dict[str, torch.Tensor]
KINDS = ("LoHa", "LoKr", "LoCon (CP)", "full-weight (diff)")
_PARTS = {  # what a layer's tensors may be called, after its name and a dot
    "LoHa": frozenset(f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    "LoKr": frozenset(f"lokr_{part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    "LoCon": frozenset(("lora_mid", "A", "B")),
    "a difference": frozenset(("diff",)),
}
PARTS = frozenset().union(*_PARTS.values()) - {"A", "B"}
LARGEST = 2**28  # numbers in one layer's change


def delta(name: str, parts: Parts, *, scaling: float | None, alpha: float | None) -> torch.Tensor:
    """The change of a layer's weight, float32.

    Args:
        name: of the layer, for errors.
        parts: its tensors, by what ``PARTS`` calls them; a LoCon's outer factors as ``A`` and ``B``.
        scaling: what the change is multiplied by, where that is said; else ``alpha / rank``.
        alpha: where it is said; 1 times the change where neither is.

    Raises:
        UserError: a tensor is missing, shapes do not fit, or the change is larger than any layer's.
    """
    values = {part: value.float() for part, value in parts.items()}
    kinds = [kind for kind, known in _PARTS.items() if set(values) <= known]
    if not kinds:
        mixed = [kind for kind, known in _PARTS.items() if set(values) & (known - {"A", "B"})]
        got = f"{name} has parts of several kinds: {' and '.join(mixed)} ({', '.join(sorted(values))})"
        raise UserError(got, expected="one kind of adapter a layer")
    try:
        rank, change = _MADE[kinds[0]](values)
    except KeyError as error:
        raise UserError(f"{name}: a {kinds[0]} without {error.args[0]}", expected="every part of its product") from error
    except (RuntimeError, ValueError, IndexError) as error:
        shapes = ", ".join(f"{part} {tuple(value.shape)}" for part, value in sorted(parts.items()))
        raise UserError(f"{name}: a {kinds[0]} whose shapes do not fit together ({shapes})", expected="one product") from error
    if scaling is None:
        scaling = 1.0 if alpha is None or rank is None else alpha / rank
    return change * scaling


def factors(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``change`` as the two matrices of a plain adapter whose alpha is its rank: one of them is the identity."""
    out, inner = change.shape[:2]
    if change.ndim == 4:
        return change, torch.eye(out)[:, :, None, None]
    return (torch.eye(inner), change) if inner < out else (change, torch.eye(out))


def _loha(v: Parts) -> tuple[int, torch.Tensor]:
    """``(w1_a w1_b) * (w2_a w2_b)``, element by element; with a core ``t`` each is a Tucker product."""
    halves = []
    for n in (1, 2):
        a, b = v[f"hada_w{n}_a"], v[f"hada_w{n}_b"]
        core = v.get(f"hada_t{n}")
        _bounded(a.shape[0] if core is None else a.shape[1], prod(b.shape[1:]) * (1 if core is None else prod(core.shape[2:])))
        halves.append(_tucker(core, a, b) if core is not None else (a @ b.flatten(1)).unflatten(1, b.shape[1:]))
    return v["hada_w1_b"].shape[0], halves[0] * halves[1]


def _lokr(v: Parts) -> tuple[int | None, torch.Tensor]:
    """The Kronecker product of ``w1`` and ``w2``, each whole or of two factors. Whole ones have no rank."""
    small = v["lokr_w1"] if "lokr_w1" in v else v["lokr_w1_a"] @ v["lokr_w1_b"]
    if "lokr_w2" in v:
        large = v["lokr_w2"]
    elif "lokr_t2" in v:
        large = _tucker(v["lokr_t2"], v["lokr_w2_a"], v["lokr_w2_b"])
    else:
        large = (v["lokr_w2_a"] @ v["lokr_w2_b"].flatten(1)).unflatten(1, v["lokr_w2_b"].shape[1:])
    if small.ndim != 2 or large.ndim not in (2, 4):
        raise ValueError("not matrices")
    _bounded(small.shape[0] * large.shape[0], small.shape[1] * prod(large.shape[1:]))
    rank = next((v[part].shape[1] for part in ("lokr_w1_a", "lokr_w2_a") if part in v), None)
    return rank, torch.kron(small[(...,) + (None,) * (large.ndim - 2)], large)


def _locon(v: Parts) -> tuple[int, torch.Tensor]:
    """A convolution's two factors with a small convolution between them."""
    down, up, core = v["A"], v["B"], v["lora_mid"]
    _bounded(up.shape[0], prod(down.shape[1:]) * prod(core.shape[2:]))
    return down.shape[0], _tucker(core, up.flatten(1).T, down.flatten(1))


def _tucker(core: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``core`` ``(i, j, ...)``, ``a`` ``(i, out)`` and ``b`` ``(j, in)`` to ``(out, in, ...)``."""
    return torch.einsum("ij...,ip,jr->pr...", core, a, b).contiguous()


def _bounded(out: int, inner: int) -> None:
    if out * inner > LARGEST:
        raise ValueError("larger than any layer")


_MADE: dict[str, Callable[[Parts], tuple[int | None, torch.Tensor]]] = {
    "LoHa": _loha, "LoKr": _lokr, "LoCon": _locon, "a difference": lambda v: (None, v["diff"]),
}  # fmt: skip
