"""``start_pool`` and ``next_round``: pictures that a server draws, and moves towards what owners vote for."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sfumato.accounting.votes import STANDS_OUT
from sfumato.api._common import OnNote, OnProgress, base_of, no_note, no_progress
from sfumato.core.artifact import write_atomic
from sfumato.diffusion.base import DEFAULT, Base
from sfumato.records.menu import NETWORK
from sfumato.server import evolve
from sfumato.server.pool import MENU, Pool, Settings

SHEET = "menu.png"


@dataclass(frozen=True, kw_only=True)
class Evolved:
    """A pool after a round was drawn.

    Attributes:
        pool: its folder.
        round: that was drawn last, from 1 up.
        menu: the file to send to owners.
        sheet: a picture of the menu, for people: each frame is a cluster, in its order.
        pictures: how many there are in the round.
        clusters: K.
        counts: the ballots' sum by cluster of the menu before, float64 ``(K,)``; None at the start.
        noise: standard deviation of a count; 0 at the start.
        threshold: what a cluster's count had to exceed.
        winners: clusters that did, largest first.
        owners: the names that voted.
    """

    pool: Path
    round: int
    menu: Path
    sheet: Path
    pictures: int
    clusters: int
    counts: np.ndarray | None = None
    noise: float = 0.0
    threshold: float = 0.0
    winners: tuple[int, ...] = ()
    owners: tuple[str, ...] = ()


def start_pool(
    pool: str | Path,
    *,
    pictures: int = 1000,
    clusters: int = 24,
    owners: int = 1,
    prompts: Iterable[str] = (),
    network: str = NETWORK,
    condition: str = "canny",
    steps: int = 25,
    seed: int = 0,
    base: str | Path | Base = DEFAULT,
    on_progress: OnProgress = no_progress,
) -> Evolved:
    """Draw pictures from a base, and write a menu of them for owners to vote on.

    Nothing private is involved. Run again after an interrupt it goes on.

    Args:
        pool: the folder of the pool.
        pictures: how many are drawn in each round.
        clusters: how many a menu has. Few, coarse ones stand out of the noise more easily.
        owners: how many are expected to vote; it decides what they are told their votes can carry.
        prompts: public words to draw under as well as under none.
        network: the public frozen network that says how alike pictures are.
        condition: what a ControlNet trained from the pool will follow.
        steps: of drawing.
        seed: of the server's own draws.
        base: by name or as it was loaded.
        on_progress: told how far it is.

    Raises:
        UserError: something else in the folder, or too few different pictures for so many clusters.

    Examples:
        >>> started = sfumato.start_pool(
        ...     "pool", pictures=8, clusters=2, network="pixels", steps=1, base=base
        ... )
        >>> started.round, started.pictures, started.menu.name
        (1, 8, 'menu.safetensors')
    """
    settings = Settings(
        count=pictures, clusters=clusters, owners=owners, prompts=tuple(prompts), network=network, condition=condition, seed=seed,
        steps=steps,
    )  # fmt: skip
    found = evolve.start(Path(pool), base_of(base), settings, on_step=lambda done, total: on_progress("drawing", done, total))
    return _evolved(found)


def next_round(
    pool: str | Path,
    ballots: Iterable[str | Path],
    *,
    threshold: float = STANDS_OUT,
    base: str | Path | Base = DEFAULT,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Evolved:
    """Count ballots, and draw pictures around what won: a new menu, and a pool to train from.

    Args:
        pool: the folder of the pool.
        ballots: one file of each owner, all for the pool's last menu.
        threshold: standard deviations of the noise that a cluster's count must exceed.
        base: that the pool was started with, by name or as it was loaded.
        on_progress: told how far it is.
        on_note: told what a person should know.

    Raises:
        RecordError: a ballot that was altered, is for another menu, or is an owner's second.
        UserError: nothing stands out of the noise. The pool is as it was before.

    Examples:
        >>> evolved = sfumato.next_round("pool", ["me.ballot"], base=base)
        >>> evolved.round, evolved.owners
        (2, ('me',))
    """
    files = [Path(one) for one in ballots]
    outcome = evolve.next_round(
        Path(pool), base_of(base), files, threshold=threshold, on_step=lambda done, total: on_progress("drawing", done, total)
    )
    for owner in outcome.new_owners:
        on_note(f"{owner}: an owner not seen before; the key is remembered")
    for line in outcome.notes:
        on_note(line)
    return _evolved(outcome.pool, outcome)


def _evolved(pool: Pool, outcome: evolve.Outcome | None = None) -> Evolved:
    place = pool.place(pool.round)
    buffer = io.BytesIO()
    Image.fromarray(pool.menu(pool.round).sheet()).save(buffer, "PNG")
    write_atomic(place / SHEET, buffer.getvalue())
    counted = {} if outcome is None else {name: getattr(outcome, name) for name in ("counts", "noise", "threshold", "winners", "owners")}
    return Evolved(
        pool=pool.folder, round=pool.round, menu=place / MENU, sheet=place / SHEET, pictures=pool.settings.count,
        clusters=pool.settings.clusters, **counted,
    )  # fmt: skip
