"""Are the public pictures that attackers learn from of the kind that the private ones are? Attackers with others look too weak."""

from __future__ import annotations

import torch

EXPECTED = 0.01  # share of pictures of the public kind that count as unlike it
TOO_MANY = 0.5  # share of private ones from which on attackers are said to know the wrong kind
FEWEST = 30  # public pictures from which anything can be said


def unlike(private: torch.Tensor | None, public: torch.Tensor) -> str:
    """What is said where most private latents ``(N, 4, h, w)`` are unlike the public ones ``(P, 4, h, w)``; else the empty string."""
    if private is None or len(public) < FEWEST:
        return ""
    share = strange(private, public)
    if share <= TOO_MANY:
        return ""
    return (
        f"{share:.0%} of your pictures are unlike the public ones that the attackers learned from: give --public FOLDER with pictures of "
        "the same kind, for a real attacker would have them"
    )


def strange(private: torch.Tensor, public: torch.Tensor) -> float:
    """The share of private latents that are farther from the public ones' middle than 99 in 100 of these, by what their channels are like.

    The distance is Mahalanobis' in the mean and the spread of every channel: coarse, so that other people are no strangers and other kinds
    of pictures are.
    """
    known, asked = _summary(public), _summary(private)
    middle = known.mean(0)
    centred = known - middle
    covariance = centred.T @ centred / len(known) + 1e-4 * torch.eye(known.shape[1], dtype=known.dtype)
    inverse = torch.linalg.inv(covariance)
    own, theirs = (((x - middle) @ inverse * (x - middle)).sum(1) for x in (known, asked))
    return float((theirs > torch.quantile(own, 1 - EXPECTED)).double().mean())


def _summary(latents: torch.Tensor) -> torch.Tensor:
    """Mean and logarithm of the spread of each channel, float64 ``(N, 2 C)``."""
    flat = latents.flatten(2).double()
    return torch.cat([flat.mean(2), flat.std(2).clamp(min=1e-6).log()], dim=1)
