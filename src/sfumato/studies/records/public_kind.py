"""Are the public pictures that attackers learn from of the kind that the private ones are?
Attackers with others look too weak."""

from __future__ import annotations

import torch

from sfumato.owner import domain


def weak(private: torch.Tensor | None, public: torch.Tensor) -> str:
    """Why attackers with these ``public`` latents ``(P, C, h, w)`` are weaker on ``private`` ones
    ``(N, C, h, w)`` than real ones would be; the empty string where nothing says so."""
    if len(public) < domain.FEWEST:
        return (
            f"the attackers had {len(public)} public pictures to learn from, which is too few ({domain.FEWEST} at least): "
            "they were weak for want of them. Give --public FOLDER with more"
        )
    if private is None:
        return ""
    distance = domain.between(private, public)
    if not distance.far:
        return ""
    return (
        f"{distance.beyond:.0%} of your pictures lie beyond where {domain.WITHIN:.0%} of the attackers' public pictures lie: the attackers "
        "were weak for want of pictures like yours. Give --public FOLDER with pictures of the same kind, of other people where people are "
        "on them: a real attacker would have them"
    )
