"""Several releases of one picture, combined by their precision: why a picture is released once.

The same estimate as ``linear_mmse``, which pools whatever it is given; here it is refused where there is one release alone.
"""

from __future__ import annotations

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Latents, Public, Releases, Scenario
from sfumato.attacker.records import linear_mmse
from sfumato.attacker.records._evidence import TRACES
from sfumato.attacker.records.base import Guess, Target
from sfumato.diffusion.base import Base

DESCRIPTION = "combine several releases of the same picture"
TARGETS: tuple[Target, ...] = ("picture", "condition", "person")
NEEDS: tuple[type, ...] = (Latents, Public, Base)
MAY_USE: tuple[type, ...] = TRACES
COUNT: dict[Effort, int] = {"quick": 1000, "full": 4000}


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Estimate ``z_0`` and ``c`` from several releases of each picture.

    Raises:
        Lacking: there is one release alone.
    """
    times = len(scenario[Latents].z)
    if times < 2:
        raise Lacking(Releases)
    guess = linear_mmse.run(scenario, effort=effort, seed=seed, tell=tell)
    guess.budget["releases"] = times
    return guess
