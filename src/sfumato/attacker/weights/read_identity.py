"""Read who it is off the weights, and no picture in between: from what an adapter adds to where the person lies.

Adapters of public people and these people's pictures are all that it learns from. An adapter is described by what each
layer adds and by nothing else (``sketch``), so that every way of writing it, ``(G A, B G^-1)``, is the same; a person by
where the attacker's own identity head, never the judge's, puts their pictures. Ridge regression leads from one to the
other. Candidates of a line-up are ranked by the cosine with what was read (``cosine``), or by a likelihood: how far the
person's other pictures lie from it in the measure of the errors on public people who were set aside (``likelihood``),
which trusts errors on few people too much.

Notation: n adapters, F values that describe one, D of an identity, M candidates with K pictures each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._layout import Factors, Layout, seen
from sfumato.attacker.weights._shadows import PublicAdapters
from sfumato.attacker.weights.base import Guess, LineUp, PublicPeople, Published, Target
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.features import identity

DESCRIPTION = "regress the person's identity from what the adapter adds, layer by layer, and rank a line-up by it"
TARGETS: tuple[Target, ...] = ("person",)
NEEDS: tuple[type, ...] = (Published, PublicAdapters, PublicPeople, LineUp)
VARIANTS = ("cosine", "likelihood")
SIDE = 32  # a layer is sketched to this many rows and columns
FOLDS = 5
PENALTIES = tuple(10.0**k for k in range(-3, 4))  # of the mean eigenvalue of the adapters' Gram matrix
SHRUNK = 0.1  # of the errors' covariance, towards its diagonal's mean
SEED = 104_729  # of the head and of sketches: not the judge's


@dataclass(frozen=True, eq=False)
class Sketch:
    """``R^T (B A) Q`` of every layer by random orthonormal R and Q, at length 1, and by layers side by side.

    What a layer adds turns less in a longer training than it grows, so that how much it adds is left out.
    """

    layout: Layout
    left: dict[str, torch.Tensor]
    right: dict[str, torch.Tensor]

    @classmethod
    def of(cls, layout: Layout) -> Sketch:
        """Directions for the layers of ``layout``."""
        sides = layout.sides.items()
        left = {name: _directions(out, generator(SEED, 0, k)) for k, (name, (out, _)) in enumerate(sides)}
        return cls(layout, left, {name: _directions(into, generator(SEED, 1, k)) for k, (name, (_, into)) in enumerate(sides)})

    def __call__(self, factors: Factors) -> torch.Tensor:
        """Of ``A`` ``(n, r, in)`` and ``B`` ``(n, out, r)`` by layer, ``(n, F)``; zeros for a layer that adds nothing."""
        parts = [((self.left[name].mT @ b.float()) @ (a.float() @ self.right[name])).flatten(1) for name, (a, b) in factors.items()]
        return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)


@dataclass(frozen=True, eq=False)
class Reader:
    """What was learned: ``(F,) -> (D,)``, and the precision ``(D, D)`` of its errors on people set aside.

    ``facts`` say how well it names those among all public people.
    """

    sketch: Sketch
    mean: torch.Tensor
    weight: torch.Tensor
    offset: torch.Tensor
    precision: torch.Tensor
    head: identity.Head
    facts: dict[str, float]

    def read(self, described: torch.Tensor) -> torch.Tensor:
        """Identities ``(n, D)`` of described adapters ``(n, F)``."""
        return (described - self.mean) @ self.weight + self.offset


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "cosine") -> Guess:
    """``scores`` ``(M,)`` over the line-up's people. See the module."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    public, line_up = scenario[PublicAdapters], scenario[LineUp]
    reader = learned(public, scenario[PublicPeople])
    factors, facts = seen(scenario[Published].adapter, reader.sketch.layout, any_rank=True)
    read = reader.read(reader.sketch(factors))[0]
    scores = ranked(read, places(reader.head, line_up), reader.precision if variant == "likelihood" else None)
    return Guess(scores=scores, budget={"variant": variant, "candidates": len(scores), **reader.facts, **facts})


def ranked(read: torch.Tensor, candidates: torch.Tensor, precision: torch.Tensor | None) -> torch.Tensor:
    """Of ``read`` ``(D,)`` with everybody of ``(M, D)``: the log likelihood up to a constant, or without ``precision`` the cosine."""
    if precision is None:
        return F.cosine_similarity(candidates, read[None], dim=1)
    off = candidates - read
    return -(off @ precision * off).sum(1) / 2


@lru_cache(maxsize=4)
def places(head: identity.Head, line_up: LineUp) -> torch.Tensor:
    """Where the head puts everybody of a line-up, the mean of their pictures, ``(M, D)``."""
    m, k = line_up.images.shape[:2]
    embedded = head.embed(line_up.images.reshape(m * k, *line_up.images.shape[2:]))
    return torch.from_numpy(embedded.reshape(m, k, -1).mean(1)).float()


@lru_cache(maxsize=2)
def learned(public: PublicAdapters, people: PublicPeople) -> Reader:
    """A reader of public people's adapters, each after every usual number of steps; learned once for them."""
    described = identity.describe(people.images)
    head = identity.train(described, people.identities, seed=SEED)
    places = _means(head.embed_described(described), people.identities, public.identities)
    sketch, layout = Sketch.of(public.shadows.layout), public.shadows.layout
    usual = public.usual()
    rows, who = [], []
    for k, person in enumerate(public.shadows.people):
        kept = torch.isin(person.steps, torch.tensor(usual))
        rows.append(sketch(layout.factors(person.rows[kept])))
        who += [k] * int(kept.sum())
    return fitted(sketch, torch.cat(rows), torch.tensor(who), places, head)


def fitted(sketch: Sketch, x: torch.Tensor, who: torch.Tensor, places: torch.Tensor, head: identity.Head) -> Reader:
    """Ridge regression of where people lie on their adapters; the penalty names people who were set aside best.

    Args:
        sketch: what described the adapters.
        x: adapters ``(n, F)``.
        who: int64 ``(n,)``, whose each is.
        places: where these P people lie, ``(P, D)``.
        head: what said so.
    """
    people = len(places)
    if people < 2 * FOLDS:
        raise UserError(f"{people} public people", expected=f"{2 * FOLDS} at least", fix="train adapters of more people")
    fold = who % FOLDS
    ranks, errors = {}, {}
    for penalty in PENALTIES:
        read = torch.zeros(len(x), places.shape[1])
        for k in range(FOLDS):
            mine = fold != k
            mean, weight, offset = _ridge(x[mine], places[who[mine]], penalty)
            read[~mine] = (x[~mine] - mean) @ weight + offset
        errors[penalty] = places[who] - read
        precision = _precision(errors[penalty])
        scores = torch.stack([ranked(one, places, precision) for one in read])
        ranks[penalty] = (scores >= scores.gather(1, who[:, None])).sum(1).float()
    best = min(PENALTIES, key=lambda penalty: float(ranks[penalty].log().mean()))
    mean, weight, offset = _ridge(x, places[who], best)
    facts = {
        "public people": people, "public adapters": len(x), "penalty": best,
        "set aside, top-1": float((ranks[best] == 1).float().mean()), "set aside, mean rank": float(ranks[best].mean()),
    }  # fmt: skip
    return Reader(sketch, mean, weight, offset, _precision(errors[best]), head, facts)


def _ridge(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean of ``x``, weights ``(F, D)`` and mean of ``y``, solved among the n adapters: they are fewer than F."""
    mean, offset = x.mean(0), y.mean(0)
    centred = x - mean
    gram = (centred @ centred.mT).double()
    scale = penalty * gram.diagonal().mean().clamp(min=1e-12)
    dual = torch.linalg.solve(gram + scale * torch.eye(len(x), dtype=gram.dtype), (y - offset).double())
    return mean, centred.mT @ dual.float(), offset


def _precision(errors: torch.Tensor) -> torch.Tensor:
    """The inverse of the errors' covariance ``(D, D)``, drawn towards a multiple of one."""
    covariance = (errors.mT @ errors).double() / len(errors)
    mean = covariance.diagonal().mean().clamp(min=1e-12)
    drawn = (1 - SHRUNK) * covariance + SHRUNK * mean * torch.eye(len(covariance), dtype=covariance.dtype)
    return torch.linalg.inv(drawn).float()


def _means(embedded: np.ndarray, identities: Sequence[str], wanted: Sequence[str]) -> torch.Tensor:
    """Means of the pictures of each of ``wanted``, ``(P, D)``."""
    names = np.array(identities)
    missing = [name for name in wanted if name not in set(identities)]
    if missing:
        raise UserError(f"no picture of {missing[0]!r}", expected="pictures of everybody whose adapter is public")
    return torch.from_numpy(np.stack([embedded[names == name].mean(0) for name in wanted])).float()


def _directions(side: int, draws: torch.Generator) -> torch.Tensor:
    """``(side, min(side, SIDE))`` orthonormal columns."""
    return torch.linalg.qr(torch.randn((side, min(side, SIDE)), generator=draws)).Q
