"""Votes on pictures that the server drew: nothing of a private picture leaves but noisy counts, (epsilon, delta)-private.

Options of the owners' plan: ``epsilon`` of all ``rounds`` together, ``unit`` of what is guaranteed by the folder's table. Of the server's
pool: ``count``, ``clusters``, ``network``, ``steps``, ``threshold``, ``prompts``; and ``vary``, of what is trained on. ``votes`` says what
the server goes by: "cast", or "none", the baseline of which every cluster is drawn again alike and nobody is asked.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sfumato.accounting import gaussian, votes
from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.diffusion.base import Codec, load_codec
from sfumato.features.variation import kinds_of
from sfumato.owner.folder import Folder
from sfumato.owner.vote import Plan, vote
from sfumato.records import ballot as ballots
from sfumato.records import menu as menus
from sfumato.records.ballot import RELATION, Ballot
from sfumato.schemes._wire import Job, Outcome, Peer, Tensors
from sfumato.server import derive, evolve
from sfumato.server.pool import MENU, Pool, Settings
from sfumato.server.train import Voted, train

DESCRIPTION = "noisy votes on pictures that the server drew; no picture leaves, not even noised"
EXTRACTS = True  # its conditions are found in the pool's pictures
OWNERS: dict[str, Any] = {"epsilon": 1.0, "rounds": 5}
SERVERS: dict[str, Any] = {"count": 800, "clusters": 24, "network": menus.NETWORK, "steps": 14, "threshold": votes.STANDS_OUT}
OTHERS = ("prompts", "vary", "votes", "insecure_seed")


class Owner:
    """What an owner computes: one ballot a round."""

    load = staticmethod(load_codec)

    def __init__(self, folder: Folder, base: Codec, **options: Any) -> None:
        self.folder, self.base, self.options = folder, base, options

    def vote(self, tensors: Tensors, *, menu: str, out: str, store: str, owner: str) -> Tensors:
        """Vote on the file ``menu``, and write the ballot to ``out``."""
        seed = self.options.get("insecure_seed")
        asked = {**OWNERS, **self.options}
        plan = Plan(epsilon=float(asked["epsilon"]), rounds=int(asked["rounds"]))
        vote(
            self.folder, menus.read(Path(menu)), Path(out), owner=owner, codec=self.base, plan=plan, store=Path(store),
            noise=None if seed is None else InsecureNoise(seed),
        )  # fmt: skip
        return {}


def run(job: Job) -> Outcome:
    """Draw a pool, let every owner vote in every round, train on what came of it.

    Where votes do not stand out of their noise the rounds end there, and a note says so: what the
    pool is then, it is trained on, be it the base's own samples.
    """
    unknown = set(job.options) - {*OWNERS, *SERVERS, *OTHERS}
    if unknown:
        raise UserError(f"unknown option {sorted(unknown)[0]!r}", expected=", ".join((*OWNERS, *SERVERS, *OTHERS)))
    votes_are = job.options.get("votes", "cast") or "none"  # None is what ``votes=none`` is in the name of an arm
    if votes_are not in ("cast", "none"):
        raise UserError(f"votes {votes_are!r}", expected="cast or none", privacy="nobody was asked to vote")
    if vary := job.options.get("vary"):
        kinds_of(vary)
    given = {**OWNERS, **SERVERS, **job.options}
    settings = Settings(
        count=int(given["count"]), clusters=int(given["clusters"]), network=str(given["network"]), steps=int(given["steps"]),
        prompts=tuple(given.get("prompts", ())), owners=len(job.folders), condition=job.condition, seed=job.config.seed,
    )  # fmt: skip
    threshold = float(given["threshold"])
    work = job.out.parent / f"{job.out.name}-pool"
    pool = evolve.start(work / "pool", job.base, settings)
    outcome = Outcome(controlnet=job.out)
    rounds = range(pool.round, int(given["rounds"]) + 1)  # a run that was killed goes on from there
    if votes_are == "none":
        for _ in rounds:
            pool = evolve.unvoted(work / "pool", job.base)
        outcome.notes.append("nobody voted: every cluster was drawn again alike")
    else:
        peers = job.peers("private_evolution")
        outcome.traffic = {owner: peer.traffic for owner, peer in peers.items()}
        try:
            for number in rounds:
                if not _voted(job, peers, work, pool, number, threshold, outcome):
                    break
        finally:
            outcome.owners = {owner: peer.close() for owner, peer in peers.items()}
        if cast := [ballots.read(path) for path in sorted(work.glob("*.ballot"))]:
            outcome.stated = _stated(cast)
    pairs = derive.from_pictures(
        pool.pictures(pool.round)[0], job.base, condition=job.condition, origin=f"pool {pool.id} round {pool.round} {job.condition}"
    )
    pairs = derive.varied(pairs, job.base, job.options.get("vary"), seed=job.config.seed)
    said = outcome.stated or {"guarantee": "not needed", "why": "nothing private left"}
    train(pairs, job.base, job.out, job.config, voted=Voted({owner: {} for owner in outcome.owners}, said), on_step=job.on_step)
    return outcome


def _voted(job: Job, peers: dict[str, Peer], work: Path, pool: Pool, number: int, threshold: float, outcome: Outcome) -> bool:
    """One round; whether there was one."""
    menu, files = pool.place(number) / MENU, []
    try:
        for owner, peer in peers.items():
            files.append(work / f"{owner}-{number}.ballot")
            peer.call("vote", menu=str(menu), out=str(files[-1]), store=str(work / ".home" / owner), owner=owner)
            peer.traffic.bytes_down += menu.stat().st_size
            peer.traffic.bytes_up += files[-1].stat().st_size
            peer.traffic.messages_up += 1
        evolve.next_round(work / "pool", job.base, files, threshold=threshold, store=work / ".known")
    except UserError as error:
        outcome.notes.append(f"rounds ended after {number - 1}: {error.got}")
        return False
    return True


def _stated(cast: list[Ballot]) -> dict[str, Any]:
    """What the ballots that were cast guarantee: of a person (or picture) of the owner that cast most, whether or not they counted."""
    if not all(ballot.secure for ballot in cast):
        return {"guarantee": "none", "why": "the noise of a ballot came from a seed", "unit": "picture", "relation": RELATION}
    mus = [gaussian.compose(one.mu for one in cast if one.owner == owner) for owner in {one.owner for one in cast}]
    delta, mu = max(one.delta for one in cast), max(mus)
    return {
        "guarantee": "gaussian-dp", "unit": "person" if {one.unit for one in cast} == {"person"} else "picture", "relation": RELATION,
        "mu": mu, "delta": delta, "epsilon": gaussian.epsilon(delta, mu), "releases": max(Counter(one.owner for one in cast).values()),
    }  # fmt: skip
