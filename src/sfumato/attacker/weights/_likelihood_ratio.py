"""LiRA's test: Gaussians of a statistic under shadows that had seen a candidate and that had not. Carlini et al., arXiv 2112.03570."""

from __future__ import annotations

import torch

from sfumato.core.errors import UserError

ENOUGH = 16  # shadows on either side from which on a candidate has a variance of its own


def likelihood_ratio(seen: torch.Tensor, shadow: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Log of how much likelier a candidate's statistic is had it been a member.

    Args:
        seen: of the victim, ``(M,)``, larger for members.
        shadow: of S shadows, ``(S, M)``.
        members: bool ``(S, M)``.

    Returns:
        ``(M,)``. Candidates have a mean of their own on both sides; where one side is empty, it lies as far from the other as on average;
        where no shadow has a member, the answer is the distance from the non-members. Variances are pooled where shadows are few.
    """
    if members.shape != shadow.shape or members.dtype != torch.bool or len(shadow) < 2:
        got = f"{len(shadow)} shadows, members {members.dtype} of shape {tuple(members.shape)}"
        raise UserError(got, expected=f"two shadows at least, and bool {tuple(shadow.shape)}")
    if not bool((~members).any()):
        raise UserError("every shadow saw every candidate", expected="shadows trained on some of them")
    seen, shadow = seen.double(), shadow.double()
    sides = [_side(shadow, members), _side(shadow, ~members)]
    (inside, var_in, n_in), (outside, var_out, n_out) = sides
    if not bool(members.any()):
        return ((seen - outside) / var_out.sqrt()).float()
    both = (n_in > 0) & (n_out > 0)
    gap = (inside - outside)[both].mean() if bool(both.any()) else shadow[members].mean() - shadow[~members].mean()
    inside = torch.where(n_in > 0, inside, outside + gap)
    outside = torch.where(n_out > 0, outside, inside - gap)
    log_in, log_out = (-((seen - mean) ** 2) / (2 * var) - var.log() / 2 for mean, var in ((inside, var_in), (outside, var_out)))
    return (log_in - log_out).float()


def _side(shadow: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, variance and number ``(M,)`` of the shadows on one side."""
    n = mask.sum(0)
    mean = (shadow * mask).sum(0) / n.clamp(min=1)
    squares = ((shadow - mean).square() * mask).sum(0)
    free = (n - 1).clamp(min=0).sum()
    pooled = squares.sum() / free if free > 0 else shadow.var()
    own = squares / (n - 1).clamp(min=1)
    return mean, torch.where(n >= ENOUGH, own, pooled).clamp(min=1e-12), n
