"""Did this person vote? What is told by an owner's ballots, for an attacker who has that person's pictures.

No test tells two Gaussians apart better than the ratio of their likelihoods (Neyman and Pearson). So
this is the best attack on ballots whose other voters are known, which is what the guarantee is against:
at a false-positive rate f it finds at most ``Phi(Phi^-1(f) + mu)`` of those who voted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sfumato.accounting import votes
from sfumato.core.errors import UserError
from sfumato.features.embeddings.base import Pictures
from sfumato.records import menu as menus
from sfumato.records.ballot import Ballot
from sfumato.records.menu import Menu

DESCRIPTION = "the likelihood ratio of a person's votes being in an owner's ballots"


def votes_of(embedded: np.ndarray, menu: Menu) -> np.ndarray:
    """How a person with these pictures, embedded ``(N, D)``, votes on ``menu``: float64 ``(K,)`` of norm 1 at most."""
    counts = np.bincount(menu.nearest(embedded), minlength=len(menu))
    return np.array(votes.scaled(counts.tolist()), np.float64) / 2**votes.ONE_BITS


def embed(images: np.ndarray, menu: Menu, codec: Pictures) -> np.ndarray:
    """Pictures uint8 ``(N, H, W, 3)`` as the owner's own vote embeds them, ``(N, D)``."""
    return menus.embed(menu.about.network, images, codec)


def log_ratio(ballots: Sequence[Ballot], person: np.ndarray, others: np.ndarray) -> float:
    """Logarithm of how much likelier the ballots of an owner are if the person voted than if not.

    Args:
        ballots: of one owner, one for each round.
        person: the person's votes in each round, ``(R, K)``.
        others: the votes of everybody else, ``(R, K)``, known or guessed. A wrong guess makes the attack
            weaker, and no other attack stronger.

    Raises:
        UserError: other shapes than the ballots have.
    """
    seen = np.stack([ballot.votes for ballot in ballots])
    if not seen.shape == person.shape == others.shape:
        raise UserError(f"votes of shapes {person.shape} and {others.shape}", expected=f"{seen.shape}, as the ballots")
    precision = np.array([ballot.noise_multiplier**-2.0 for ballot in ballots])
    return float(precision @ ((seen - others - person / 2) * person).sum(axis=1))
