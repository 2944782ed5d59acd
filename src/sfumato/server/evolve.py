"""Private Evolution: a pool of pictures that moves towards what owners vote for, and holds none of theirs.

Draw pictures from the base, cluster them, let owners vote with noisy counts, draw again around what won
(Lin et al., "Differentially Private Synthetic Data via Foundation Model APIs", arXiv 2305.15560; of a
person, whatever number of pictures, one vote of norm 1). All that is done with ballots is
post-processing: the guarantee is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.accounting import gaussian, votes
from sfumato.core.artifact import sha256, write_atomic, write_json
from sfumato.core.errors import RecordError, UserError
from sfumato.core.outside import read_bytes
from sfumato.core.progress import Tell
from sfumato.core.randomness import evenly, generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample
from sfumato.records import ballot as ballots
from sfumato.records import menu as menus
from sfumato.records import trust
from sfumato.records.ballot import Ballot
from sfumato.records.menu import About
from sfumato.records.reader import Records
from sfumato.server import derive
from sfumato.server.pool import MENU, TALLY, Pool, Settings, create, read, sizes
from sfumato.server.train import Voted

VARIATION = (900, 800, 650, 500)  # steps of a schedule of 1,000 that winners are noised to, round by round; the last for all later


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a tally came to.

    Attributes:
        pool: with a new menu.
        counts: float64 ``(K,)``, the ballots' sum.
        noise: its standard deviation, and ``threshold`` what a cluster had to exceed.
        winners: the clusters that did, by their counts.
        owners: the names that voted.
        new_owners: those that were not known before.
        notes: what a person should know.
    """

    pool: Pool
    counts: np.ndarray
    noise: float
    threshold: float
    winners: tuple[int, ...]
    owners: tuple[str, ...]
    new_owners: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def start(folder: Path, base: Base, settings: Settings, *, on_step: Tell = lambda done, total: None) -> Pool:
    """Draw a pool and write its first menu. Run again after a kill it goes on.

    Args:
        folder: where it goes.
        base: to draw with, under the empty prompt and the public ones in turn.
        settings: how.
        on_step: called with (pictures drawn, in all).

    Raises:
        UserError: something else is in ``folder``, or the pictures do not make so many clusters.
    """
    derive.extractor_of(settings.condition)
    menus.fingerprint(settings.network, base)
    pool = create(folder, base, settings)
    if pool.round:
        return pool
    prompts, starts = ("", *settings.prompts), np.cumsum([0, *sizes(settings.count)])

    def draw(part: int, size: int) -> torch.Tensor:
        said = [prompts[(int(starts[part]) + i) % len(prompts)] for i in range(size)]
        guidance = derive.GUIDANCE if settings.prompts else 1.0  # which changes nothing under the empty prompt
        return sample(base, said, generator=generator(settings.seed, 17, 1, part), guidance=guidance, steps=settings.steps, eta=1.0)

    _draw(pool, base, 1, draw, on_step)
    return pool


def next_round(
    folder: Path, base: Base, files: Sequence[Path], *, threshold: float = votes.STANDS_OUT, store: Path | None = None,
    on_step: Tell = lambda done, total: None,
) -> Outcome:  # fmt: skip
    """Count the ballots for the pool's menu, draw again around what won, and write a new menu. Goes on after a kill.

    Args:
        folder: the pool.
        base: that it was started with.
        files: ballots, one of each owner.
        threshold: standard deviations of the noise that a cluster's count must exceed.
        store: where known owners are remembered.
        on_step: called with (pictures drawn, in all).

    Raises:
        RecordError: a ballot that cannot be believed, is for another menu, or is an owner's second.
        UserError: nothing stands out of the noise, or other ballots were counted for this round. The
            pool is as it was before, and so are the ballots.
    """
    if not 0 <= threshold < math.inf:
        raise UserError(f"--threshold {threshold}", expected="0 or more standard deviations of the noise")
    pool = read(folder, base)
    number = pool.round
    if not number:
        raise UserError(f"{folder}: no menu yet", fix="sfumato evolve start, with the same settings: it goes on")
    found = [_ballot(path, pool, number) for path in files]
    _check_once(files, [ballot for ballot, _ in found])
    for ballot, _ in found:
        trust.check_owner(ballot, store=store)
    outcome = _count(pool, number, [ballot for ballot, _ in found], threshold)
    counted = {"ballots": sorted(digest for _, digest in found), "threshold": threshold}
    before = pool.tally(number + 1)
    if before is not None and {key: before.get(key) for key in counted} != counted:
        raise UserError(
            f"{folder}: other ballots were counted for round {number}, and its pictures are being drawn",
            fix=f"give the same ballots to go on; or remove {pool.place(number + 1)} to count these instead",
        )
    new = tuple(ballot.owner for ballot, _ in found if trust.remember_owner(ballot, store=store))
    said = [
        {name: getattr(one, name) for name in ("owner", "public_key", "unit", "epsilon", "delta", "rounds", "secure")} for one, _ in found
    ]
    write_json(
        pool.place(number + 1) / TALLY, {**counted, "owners": said, "counts": outcome.counts.tolist(), "winners": list(outcome.winners)}
    )
    _draw(pool, base, number + 1, _around_winners(pool, base, number, outcome), on_step)
    return replace(outcome, new_owners=new)


def unvoted(folder: Path, base: Base, *, on_step: Tell = lambda done, total: None) -> Pool:
    """Draw again around every cluster alike, as if all had won with as many votes: what votes must beat. Nobody is asked."""
    pool = read(folder, base)
    number, clusters = pool.round, pool.settings.clusters
    alike = Outcome(pool=pool, counts=np.ones(clusters), noise=0.0, threshold=0.0, winners=tuple(range(clusters)), owners=())
    _draw(pool, base, number + 1, _around_winners(pool, base, number, alike), on_step)
    return pool


def _ballot(path: Path, pool: Pool, number: int) -> tuple[Ballot, str]:
    """A ballot for the menu of round ``number``, and its digest."""
    ballot, menu = ballots.read(path), pool.menu(number)
    if ballot.menu != menu.digest:
        earlier = next((r for r in range(1, number) if pool.menu(r).digest == ballot.menu), None)
        what = f"the menu of round {earlier}, which was counted" if earlier else "another menu"
        raise RecordError(f"{path}: for {what}", expected=f"a ballot for {pool.place(number) / MENU}", fix="leave it out, or ask for one")
    if len(ballot.counts) != len(menu):
        raise RecordError(f"{path}: {len(ballot.counts)} counts", expected=f"{len(menu)}, as the menu has clusters")
    return ballot, sha256(read_bytes(path, what="ballot", limit=ballots.BYTES))


def _check_once(files: Sequence[Path], found: Sequence[Ballot]) -> None:
    if not found:
        raise UserError("no ballots", expected="one of each owner")
    for what in ("owner", "public_key"):
        seen: dict[str, Path] = {}
        for path, ballot in zip(files, found, strict=True):
            if (who := getattr(ballot, what)) in seen:
                raise RecordError(
                    f"{path}: a second ballot of {ballot.owner!r}, after {seen[who]}",
                    expected="one ballot of each owner",
                    fix="leave one out",
                )
            seen[who] = path


def _count(pool: Pool, number: int, found: Sequence[Ballot], threshold: float) -> Outcome:
    """Add the ballots, and see which clusters stand out."""
    counts = np.sum([ballot.votes for ballot in found], axis=0)
    noise = math.sqrt(sum(ballot.noise_multiplier**2 for ballot in found))
    stands = np.flatnonzero(counts > threshold * noise)
    winners = tuple(int(k) for k in stands[np.argsort(-counts[stands], kind="stable")])
    clusters = len(counts)
    if not winners:
        raise UserError(
            f"round {number}: no cluster has more than {threshold:g} times the noise ({threshold * noise:.3g} votes)",
            expected="votes that stand out",
            fix=_what_would(counts, noise, found, threshold),
            privacy="the pool is as it was; what these ballots spent is spent, and they stay good for this menu",
        )
    notes = []
    if len(winners) == 1:
        notes.append(f"all votes that stand out are for one of {clusters} clusters: the next pictures are all drawn around it")
    if any(not ballot.secure for ballot in found):
        notes.append("a ballot's noise came from a seed: for tests only, it guarantees nothing")
    if len({ballot.unit for ballot in found}) > 1:
        notes.append("some ballots are by person and some by picture: an owner of many pictures of few people counts for more")
    return Outcome(
        pool=pool, counts=counts, noise=noise, threshold=threshold * noise, winners=winners,
        owners=tuple(ballot.owner for ballot in found), notes=tuple(notes),
    )  # fmt: skip


def _what_would(counts: np.ndarray, noise: float, found: Sequence[Ballot], threshold: float) -> str:
    """Which epsilon, or how many clusters, these votes could have carried."""
    clusters, total = len(counts), float(counts.sum())
    if total <= threshold * noise * math.sqrt(clusters):
        return "more people, or a larger --epsilon: all votes together do not stand out of their noise"
    ballot = found[0]
    needed = votes.needed(clusters, max(1, round(total)), ballot.delta, ballot.rounds)
    fewer = int(total / (threshold * noise))
    carried = f"a pool of {fewer} clusters or fewer" if fewer > 1 else "more people"
    return f"{carried}; or --epsilon {needed:.2g} with {clusters}; or --threshold below {counts.max() / noise:.2g}, which lets noise in"


def _around_winners(pool: Pool, base: Base, number: int, outcome: Outcome) -> Callable[[int, int], torch.Tensor]:
    """Draw part by part: pictures of the winning clusters, as many as their counts say, noised and drawn again."""
    z_0, embedded = pool.pictures(number)
    labels, seed = pool.menu(number).nearest(embedded), pool.settings.seed
    weights = outcome.counts[list(outcome.winners)]
    shares = weights / weights.sum() * pool.settings.count
    each = np.floor(shares).astype(int)
    each[np.argsort(each - shares, kind="stable")[: pool.settings.count - each.sum()]] += 1
    draws = generator(seed, 19, number)
    parents = torch.cat([
        torch.from_numpy(np.flatnonzero(labels == cluster))[evenly(int((labels == cluster).sum()), int(size), draws)]
        for cluster, size in zip(outcome.winners, each, strict=True) if size
    ])  # fmt: skip
    parents = parents[torch.randperm(len(parents), generator=draws)]
    step = round(VARIATION[min(number, len(VARIATION)) - 1] * base.schedule.steps / 1000)
    alpha, sigma = float(base.schedule.alpha(step)), float(base.schedule.sigma(step))
    starts = np.cumsum([0, *sizes(pool.settings.count)])

    def draw(part: int, size: int) -> torch.Tensor:
        mine, own = z_0[parents[starts[part] : starts[part] + size]], generator(seed, 17, number + 1, part)
        z_n = alpha * mine + sigma * torch.randn(mine.shape, generator=own)
        steps = max(1, math.ceil(pool.settings.steps * step / base.schedule.steps))
        return sample(base, [""] * size, generator=own, steps=steps, guidance=1.0, start=(z_n, step), eta=1.0)

    return draw


def _draw(pool: Pool, base: Base, number: int, draw: Callable[[int, int], torch.Tensor], on_step: Tell) -> None:
    """Draw what is missing of a round, cluster it and write its menu."""
    done, settings = 0, pool.settings
    for part, size in enumerate(sizes(settings.count)):
        if pool.part(number, part, size) is None:
            z_0 = draw(part, size).half().float()  # as it is kept: what is embedded is what is there
            pool.keep(number, part, z_0, menus.embed(settings.network, base.decode_pixels(z_0), base))
        done += size
        on_step(done, settings.count)
    write_atomic(pool.place(number) / MENU, _menu(pool, base, number))


def _menu(pool: Pool, base: Base, number: int) -> bytes:
    """The menu of the pictures of a round: k-means on what they look like."""
    from sklearn.cluster import KMeans

    settings = pool.settings
    z_0, embedded = pool.pictures(number)
    centre = embedded.astype(np.float64).mean(axis=0).astype(np.float32)
    places = menus.coordinates(embedded, centre)
    if len(np.unique(places.round(6), axis=0)) < settings.clusters:
        raise UserError(
            f"{pool.folder}: the {settings.count} pictures of round {number} are too few different ones for {settings.clusters} clusters",
            fix="start a pool with more pictures or fewer clusters, or with another network",
        )
    fitted = KMeans(settings.clusters, n_init=4, random_state=settings.seed).fit(places)
    order = np.argsort(fitted.transform(places), axis=0, kind="stable")[: menus.SHOWN].T  # (K, SHOWN): nearest first
    shown = base.decode_pixels(z_0[torch.from_numpy(order.reshape(-1))])
    about = About(
        pool=pool.id, round=number, owners=settings.owners, base=base.fingerprint, network=settings.network,
        network_fingerprint=menus.fingerprint(settings.network, base),
    )  # fmt: skip
    return menus.pack(about, centre, fitted.cluster_centers_, _thumbnails(shown).reshape(*order.shape, menus.SIDE, menus.SIDE, 3))


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """uint8 ``(N, H, W, 3)`` to ``(N, SIDE, SIDE, 3)``."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(x, (menus.SIDE, menus.SIDE), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()


def pairs(pool: Pool, base: Base, *, on_step: Tell = lambda done, total: None) -> Records:
    """The pictures of the last round and the conditions found in them, as clean records to train on.

    Raises:
        UserError: nobody voted yet: they are the base's own pictures.
    """
    number = pool.round
    if number < 2:
        raise UserError(
            f"{pool.folder}: no ballots were counted yet",
            expected="a pool after at least one round of votes",
            fix="sfumato evolve next with the owners' ballots, first",
        )
    z_0, _ = pool.pictures(number)
    origin = f"pool {pool.id} round {number} {pool.settings.condition}"
    return derive.from_pictures(z_0, base, condition=pool.settings.condition, origin=origin, on_step=on_step)


def voted(pool: Pool) -> Voted:
    """Who voted in all rounds, and what their counted ballots guarantee: of a person (or picture), the worst over owners."""
    spent: dict[str, list[dict[str, Any]]] = {}
    for number in range(2, pool.round + 1):
        for one in (pool.tally(number) or {}).get("owners", ()):
            spent.setdefault(one["owner"], []).append(one)
    if not spent:
        return Voted({}, {"guarantee": "not needed", "why": "nothing private left"})
    units = {one["unit"] for ballots_ in spent.values() for one in ballots_}
    if not all(one["secure"] for ballots_ in spent.values() for one in ballots_):
        privacy: dict[str, Any] = {"guarantee": "none", "why": "the noise of a ballot came from a seed"}
    else:
        mus = [gaussian.compose(1 / votes.sigma(one["epsilon"], one["delta"], one["rounds"]) for one in each) for each in spent.values()]
        delta, mu = max(one["delta"] for each in spent.values() for one in each), max(mus)
        privacy = {
            "guarantee": "gaussian-dp", "unit": "person" if units == {"person"} else "picture", "relation": ballots.RELATION, "mu": mu,
            "delta": delta, "epsilon": gaussian.epsilon(delta, mu), "rounds": pool.round - 1, "said_by": "the ballots",
        }  # fmt: skip
    return Voted(dict(spent), privacy)
