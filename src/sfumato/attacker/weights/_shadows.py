"""Adapters that an attacker has trained itself, on public people, at every step that was kept; and those people's pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import torch

from sfumato.adapters.lora import Adapter
from sfumato.adapters.trajectories import Store, Trajectory
from sfumato.attacker.weights._layout import Layout
from sfumato.core.errors import UserError
from sfumato.core.randomness import spread


@dataclass(frozen=True, eq=False)
class Shadow:
    """One public person.

    Attributes:
        rows: the adapter after each of S steps, as ``Layout.row`` lays it out, ``(S, P)``.
        steps: int64 ``(S,)``, rising, all above 0: before the first step an adapter adds nothing.
        latents: of pictures of the person, ``(N, 4, h, w)``.
    """

    rows: torch.Tensor
    steps: torch.Tensor
    latents: torch.Tensor


@dataclass(frozen=True, eq=False)
class Shadows:
    """Public people, whose adapters are all of one layout."""

    layout: Layout
    people: tuple[Shadow, ...]

    @classmethod
    def read(cls, store: Store, latents: Mapping[str, torch.Tensor], *, dtype: torch.dtype = torch.float16) -> Self:
        """Everyone of ``latents``, by the name that the store has for them.

        Args:
            store: of trajectories.
            latents: by name, of pictures ``(N, 4, h, w)``.
            dtype: of the weights in memory: 200 people at 10 steps of an adapter of 131,072 numbers take 0.5 GB in half precision.
        """
        return cls.of(((store.get(name), z_0) for name, z_0 in sorted(latents.items())), dtype=dtype)

    @classmethod
    def of(cls, people: Iterable[tuple[Trajectory, torch.Tensor]], *, dtype: torch.dtype = torch.float16) -> Self:
        """Trajectories and latents, person by person; see ``Shadow``.

        Raises:
            UserError: nobody; adapters that differ in layers, alpha or rank; values that are no numbers; a person without pictures.
        """
        layout: Layout | None = None
        found: list[Shadow] = []
        for trajectory, latents in people:
            last = max(trajectory.steps, default=0)
            mine = Layout.of(trajectory.adapter(last)) if last > 0 else None
            if mine is None or not len(latents):
                got = "no adapter after a step" if mine is None else "no pictures"
                raise UserError(f"public person {len(found)}: {got}", expected="a kept step above 0, and latents (N, 4, h, w)")
            layout = layout or mine
            if mine != layout:
                raise UserError(f"public person {len(found)}: other layers, rank or alpha than the first", expected="one recipe for all")
            order = [i for i, step in sorted(enumerate(trajectory.steps), key=lambda pair: pair[1]) if step > 0]
            rows = layout.row(trajectory.factors)[order].to(dtype)
            if not bool(rows.isfinite().all()):
                raise UserError(f"public person {len(found)}: values that are no finite numbers", fix="train that adapter again")
            steps = torch.tensor([trajectory.steps[i] for i in order])
            found.append(Shadow(rows, steps, latents.float()))
        if layout is None:
            raise UserError("no public people", expected="at least one trajectory with latents")
        return cls(layout, tuple(found))

    @property
    def steps(self) -> tuple[int, ...]:
        """All numbers of steps that there are adapters of, rising."""
        return tuple(torch.cat([person.steps for person in self.people]).unique().tolist())

    def final(self) -> Shadows:
        """The same people with their last adapters alone."""
        people = (Shadow(p.rows[-1:], p.steps[-1:], p.latents) for p in self.people)
        return Shadows(self.layout, tuple(people))

    def parted(self, share: float) -> tuple[Shadows, Shadows]:
        """To learn from, and ``share`` of the people set aside, evenly; nobody where they are fewer than four or the share is 0."""
        count = max(2, round(share * len(self.people))) if share and len(self.people) >= 4 else 0
        aside = spread(len(self.people), count)
        mine, others = ([p for i, p in enumerate(self.people) if (i in aside) == held] for held in (False, True))
        return Shadows(self.layout, tuple(mine)), Shadows(self.layout, tuple(others))

    def adapter(self) -> Adapter:
        """The first person's, to show what all look like."""
        factors = {name: (a.float(), b.float()) for name, (a, b) in self.layout.cut(self.people[0].rows[-1]).items()}
        return Adapter(factors=factors, alphas=dict(self.layout.alphas))

    def digest(self) -> str:
        """SHA-256 over all of it."""
        said = hashlib.sha256(json.dumps([list(self.layout.sides.items()), self.layout.alphas, self.layout.rank]).encode())
        for person in self.people:
            for part in (person.rows, person.steps, person.latents):
                said.update(part.contiguous().numpy().tobytes())
        return said.hexdigest()


@dataclass(frozen=True, eq=False)
class PublicAdapters:
    """The attacker's own adapters: ``identities`` are the people of ``shadows``, in their order; ``run`` names how they were made."""

    shadows: Shadows
    identities: tuple[str, ...]
    run: str = ""

    def __post_init__(self) -> None:
        if len(self.identities) != len(self.shadows.people):
            raise UserError(f"{len(self.shadows.people)} adapters of {len(self.identities)} people", expected="a name for each")

    def usual(self, *, shortest: float = 0.4) -> tuple[int, ...]:
        """The kept steps at which people share an adapter: from ``shortest`` of the last one on."""
        steps = self.shadows.steps
        return tuple(step for step in steps if step >= shortest * steps[-1])

    def adapter(self, number: int, step: int) -> Adapter:
        """That of one of the people, after ``step`` steps or the nearest number of them that was kept."""
        person = self.shadows.people[number]
        row = person.rows[int((person.steps - step).abs().argmin())]
        factors = {name: (a.float(), b.float()) for name, (a, b) in self.shadows.layout.cut(row).items()}
        return Adapter(factors=factors, alphas=dict(self.shadows.layout.alphas))
