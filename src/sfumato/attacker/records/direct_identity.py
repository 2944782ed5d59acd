"""From the record to who it is, by two who know what the mechanism does to people.

A probe (``_probe``) looks at the picture and the condition that the record turns into; a reader, a small network, takes the latents as they
are. Each is trained on public people pushed through the mechanism, to say where in the attacker's own identity space the clean picture's
person lies; what they say is added, the reader's with half the weight. At a glance there are few public people and no reader. By data
processing no picture that another attack makes holds more of the person than the record does.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Latents, Mechanism, Public, Scenario
from sfumato.attacker.records import _probe
from sfumato.attacker.records._evidence import TRACES, Evidence, names, see
from sfumato.attacker.records._fit import Curve
from sfumato.attacker.records._identity import few, learned, people_of
from sfumato.attacker.records._network import Reader, learn, read
from sfumato.attacker.records._once import Once
from sfumato.attacker.records._probe import Probe
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import seeded
from sfumato.diffusion.base import Base

DESCRIPTION = "read the person off the record, by what it shows and by what it is"
TARGETS: tuple[Target, ...] = ("person",)
NEEDS: tuple[type, ...] = (Latents, Public, Mechanism, Base)
MAY_USE: tuple[type, ...] = TRACES
COUNT: dict[Effort, int] = {"glance": 200, "quick": 4000, "full": 4000}
STEPS: dict[Effort, int] = {"glance": 0, "quick": 600, "full": 1200}  # of the reader, which is left out at a glance
BATCH: dict[Effort, int] = {"quick": 32, "full": 64}  # pictures in each of them: twice as many find hardly more at twice the cost
RELEASES: dict[Effort, int] = {"glance": 1, "quick": 1, "full": 2}  # of each public picture, for the probe
PROBE_STEPS: dict[Effort, int] = {"glance": 200, "quick": 300, "full": 600}  # of the probe, which is linear
READER = 0.5  # its weight beside the probe's

_made: Once[tuple[Reader | None, Probe, Curve]] = Once()
_said: Once[dict[bytes, np.ndarray]] = Once()


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Say of every record where its person lies in the attacker's identity space, ``(N, 128)``."""
    if effort == "glance":
        scenario = scenario.having(few(scenario[Public]))
    public = scenario[Public]
    reader, probe, curve = trained(scenario, effort=effort, seed=seed, tell=tell)
    seen = see(scenario, scenario[Base].schedule)
    known = _said(scenario[Mechanism], (public, seed, effort), dict)
    known_as = names(seen)
    if unknown := [row for row, name in enumerate(known_as) if name not in known]:  # who asks again is not looked up twice
        rows = torch.tensor(unknown)
        part = Evidence(seen.x[rows], seen.v[rows], None if seen.y is None else seen.y[rows], None if seen.w is None else seen.w[rows])
        known |= zip((known_as[row] for row in unknown), _observe(scenario, part, reader, probe, tell), strict=True)
    said = np.stack([known[name] for name in known_as])
    budget = {"steps": STEPS[effort], "releases": RELEASES[effort]}
    budget |= {"public people": len(set(public.identities)), "public pictures": len(public.images)}
    return Guess(embeddings=said, embed=learned(public)[0].embed, curve=curve, budget=budget)


def _observe(scenario: Scenario, seen: Evidence, reader: Reader | None, probe: Probe, tell: Tell) -> np.ndarray:
    """What probe and reader say together, ``(N, 128)`` of length 1."""
    found = probe(_probe.described(seen, scenario[Base], scenario[Public], tell=tell))
    together = found if reader is None else found + READER * F.normalize(read(reader, seen), dim=1)
    said: np.ndarray = F.normalize(together, dim=1).numpy().astype(np.float32)
    return said


def trained(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> tuple[Reader | None, Probe, Curve]:
    """The reader and the probe of a scenario's mechanism, made once: ``pooling`` and ``linkage`` read by them, too.

    The curve is the reader's; at a glance, when there is none, the probe's.
    """
    key = (scenario[Public], seed, STEPS[effort], RELEASES[effort])
    return _made(scenario[Mechanism], key, lambda: _trained(scenario, effort=effort, seed=seed, tell=tell))


def _trained(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> tuple[Reader | None, Probe, Curve]:
    if not STEPS[effort]:
        return None, *_probe.train(scenario, releases=RELEASES[effort], steps=PROBE_STEPS[effort], seed=seed, tell=tell)
    base, public = scenario[Base], scenario[Public]
    _, embedded = learned(public)
    member, centres = people_of(public)
    person = centres[member]
    with seeded(seed, 1):
        reader = Reader(embedded.shape[1], pooled=True)

    def loss(said: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Towards the clean picture's own embedding, of which there are as many as pictures, and towards the person's."""
        return 2 - F.cosine_similarity(said, embedded[rows]).mean() - F.cosine_similarity(said, person[rows]).mean()

    curve = learn(reader, loss, scenario, base.schedule, steps=STEPS[effort], batch=BATCH[effort], seed=seed, tell=tell)
    probe, _ = _probe.train(scenario, releases=RELEASES[effort], steps=PROBE_STEPS[effort], seed=seed, tell=tell)
    return reader, probe, curve
