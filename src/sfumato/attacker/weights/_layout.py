"""The matrices that a network autoencoder reads, in one order: adapters as rows of numbers, and an adapter of anybody's as it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F

from sfumato.adapters.conventions import UNET
from sfumato.adapters.lora import Adapter, LoraSettings
from sfumato.core.errors import UserError

Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]  # by layer, A (K, r, in) and B (K, out, r), with lora_alpha / r in B


@dataclass(frozen=True, slots=True)
class Layout:
    """Which layers, how large, of which rank: by canonical name ``(out, in)`` in ``sides`` and ``lora_alpha`` in ``alphas``."""

    sides: dict[str, tuple[int, int]]
    alphas: dict[str, float]
    rank: int

    @classmethod
    def of(cls, adapter: Adapter) -> Self:
        """That of an adapter of linear layers, all of one rank."""
        ranks = set(adapter.ranks.values())
        odd = [name for name, (a, _) in adapter.factors.items() if a.ndim != 2]
        if odd or len(ranks) != 1:
            got = f"{odd[0]} is a convolution" if odd else f"ranks {sorted(ranks)} in one adapter"
            raise UserError(got, expected="public adapters of linear layers, all of one rank")
        sides = {name: (len(b), a.shape[1]) for name, (a, b) in sorted(adapter.factors.items())}
        return cls(sides, {name: adapter.alphas[name] for name in sides}, ranks.pop())

    @property
    def settings(self) -> LoraSettings | None:
        """Settings that put an adapter on the UNet's layers of these, and on nothing else; None where there are none."""
        layers = tuple(name.removeprefix(UNET) for name in self.sides if name.startswith(UNET))
        return LoraSettings(rank=self.rank, targets=layers, text_targets=()) if layers else None

    def groups(self) -> list[list[str]]:
        """Layers of equal sides together, so that they can be computed at once."""
        found: dict[tuple[int, int], list[str]] = {}
        for name, sides in self.sides.items():
            found.setdefault(sides, []).append(name)
        return list(found.values())

    def row(self, factors: Factors) -> torch.Tensor:
        """All matrices one after another, as they are: ``A`` ``(*, r, in)`` and ``B`` ``(*, out, r)`` to ``(*, P)``."""
        return torch.cat([part.flatten(-2) for name in self.sides for part in factors[name]], dim=-1)

    def cut(self, rows: torch.Tensor) -> Factors:
        """What ``row`` took: views of ``(*, P)``."""
        found, at = {}, 0
        for name, (out, into) in self.sides.items():
            middle, end = at + self.rank * into, at + self.rank * (into + out)
            found[name] = rows[..., at:middle].unflatten(-1, (self.rank, into)), rows[..., middle:end].unflatten(-1, (out, self.rank))
            at = end
        return found

    def factors(self, rows: torch.Tensor) -> Factors:
        """``(K, P)`` as encoders take it: in float32, every B times ``lora_alpha / r``."""
        return {name: (a.float(), b.float() * (self.alphas[name] / self.rank)) for name, (a, b) in self.cut(rows).items()}


def seen(adapter: Adapter, layout: Layout, *, any_rank: bool) -> tuple[Factors, dict[str, Any]]:
    """What an encoder for ``layout`` sees of an adapter.

    Args:
        adapter: anybody's.
        layout: of the adapters that the encoder was trained on.
        any_rank: whether the encoder takes every rank. Else what the adapter adds is cut into factors of the layout's rank anew.

    Returns:
        Factors of one adapter (K = 1), zeros for layers that it lacks; and what was done to it, in words and numbers.

    Raises:
        UserError: values that are no numbers, layers of other shapes, or none of the layers.
    """
    fix = "train the encoder on adapters of this base and these layers"
    for name, (a, b) in adapter.factors.items():
        if not bool(a.isfinite().all() and b.isfinite().all()):
            raise UserError(
                f"{name}: values that are no finite numbers",
                expected="an adapter that can be used",
                fix="take another file of it: this one's training broke, and fetching it again changes nothing",
            )
        wanted = layout.sides.get(name)
        if wanted and (a.ndim != 2 or (len(b), a.shape[1]) != wanted):
            raise UserError(f"{name}: an adapter for weights of {tuple(b.shape[:1] + a.shape[1:])}", expected=f"{wanted}", fix=fix)
    known = {name: adapter.factors[name] for name in layout.sides if name in adapter.factors}
    if not known:
        first = next(iter(adapter.factors), "none at all")
        raise UserError(
            f"an adapter of other layers (its first is {first})", expected=f"some of {', '.join(list(layout.sides)[:3])} ...", fix=fix
        )
    ranks = {len(a) for a, _ in known.values()}
    rank = max(min(len(a), *layout.sides[name]) for name, (a, _) in known.items()) if any_rank else layout.rank
    factors: Factors = {}
    for name, (out, into) in layout.sides.items():
        if name in known:
            a, b = (x.float() for x in known[name])
            b = b * (adapter.alphas[name] / len(a))
            if len(a) > rank or (len(a) < rank and not any_rank):
                a, b = refactored(a, b, rank)
            elif len(a) < rank:
                a, b = F.pad(a, (0, 0, 0, rank - len(a))), F.pad(b, (0, rank - len(a)))
        else:
            a, b = torch.zeros(rank, into), torch.zeros(out, rank)
        factors[name] = a[None], b[None]
    facts: dict[str, Any] = {"layers": len(known)}
    if len(known) < len(layout.sides):
        facts["layers taken as zeros"] = len(layout.sides) - len(known)
    if len(known) < len(adapter.factors):
        facts["layers not read"] = len(adapter.factors) - len(known)
    if ranks != {layout.rank}:
        said = ", ".join(str(r) for r in sorted(ranks))
        facts["rank"] = f"{said}, taken as it is" if any_rank else f"{said}, factored anew by SVD at {rank}"
    return factors, facts


def refactored(a: torch.Tensor, b: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best factors of ``rank`` of what ``(r, in)`` and ``(out, r)`` add, the singular values' roots in each; zeros beyond r."""
    u, s, v = decompose(a, b)
    root = s[:rank].sqrt()
    new_a, new_b = (v[:, :rank] * root).mT, u[:, :rank] * root
    return F.pad(new_a, (0, 0, 0, rank - len(root))), F.pad(new_b, (0, rank - len(root)))


def decompose(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``B A = U diag(S) V^T`` from QR of B and of A^T and the SVD of an r x r matrix, in float64, returned in float32.

    Every ``(G A, B G^-1)`` gives the same, up to rounding, where singular values differ: of the two signs that a pair of singular vectors
    may have, the one is taken under which the sum of the left one's cubes is positive.

    Args:
        a, b: ``(*, r, in)`` and ``(*, out, r)``.

    Returns:
        U ``(*, out, k)``, S ``(*, k)``, falling, and V ``(*, in, k)``, with k = min(r, out, in).
    """
    q_b, r_b = torch.linalg.qr(b.double())
    q_a, r_a = torch.linalg.qr(a.mT.double())
    u, s, v_t = torch.linalg.svd(r_b @ r_a.mT, full_matrices=False)
    u, v = q_b @ u, q_a @ v_t.mT
    sign = torch.where(u.pow(3).sum(dim=-2, keepdim=True) < 0, -1.0, 1.0)
    return (u * sign).float(), s.float(), (v * sign).float()


def norms(factors: Factors) -> torch.Tensor:
    """By adapter and layer ``||B A||_F``, ``(K, layers)``, without making the product."""
    squares = [((a @ a.mT) * (b.mT @ b)).sum(dim=(-2, -1)) for a, b in factors.values()]
    return torch.stack(squares, dim=1).clamp(min=0).sqrt()
