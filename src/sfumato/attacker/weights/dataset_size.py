"""How many pictures an adapter was trained on: DSiRe (Salama et al., "Dataset size recovery from LoRA weights", arXiv 2406.19395).

The fewer pictures, the longer each of them pulls in the same direction. Every layer votes for the number of pictures of that public adapter
whose singular values of ``(lora_alpha / r) B A`` are nearest. These do not depend on which of the many ``(A, B)`` of an adapter was saved.
It needs public adapters that were trained as the victim was: rate and steps move singular values as much as the number of pictures does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights.base import Guess, Published, Target
from sfumato.core.errors import UserError

DESCRIPTION = "DSiRe: each layer votes for the public adapter of the nearest singular values"
TARGETS: tuple[Target, ...] = ("count",)


@dataclass(frozen=True, eq=False)
class Sized:
    """Public adapters, trained as the victim is thought to be, and on how many pictures each."""

    adapters: tuple[Adapter, ...]
    pictures: tuple[int, ...]


NEEDS: tuple[type, ...] = (Published, Sized)


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """``facts["pictures"]`` is the guess, ``facts["votes"]`` how many layers were for each number. Nothing is drawn."""
    known = scenario[Sized]
    if not known.adapters or len(known.adapters) != len(known.pictures):
        got = f"{len(known.adapters)} public adapters with {len(known.pictures)} numbers"
        raise UserError(got, expected="one number for each, and one at least")
    victim = spectra(scenario[Published].adapter)
    others = [spectra(adapter) for adapter in known.adapters]
    layers = sorted(set(victim).intersection(*others))
    if not layers:
        raise UserError("no layer that all of the adapters have", expected="public adapters with the victim's targets")
    distance = torch.tensor([[_distance(victim[layer], other[layer]) for other in others] for layer in layers])  # (layers, adapters)
    votes = Counter(known.pictures[i] for i in distance.argmin(1).tolist())
    apart = dict(zip(known.pictures, (-distance.sum(0)).tolist(), strict=True))  # decides between numbers of as many votes
    pictures = max(votes, key=lambda number: (votes[number], apart[number]))
    tell(len(layers), len(layers))
    facts = {"pictures": pictures, "votes": dict(sorted(votes.items()))}
    return Guess(facts=facts, budget={"layers": len(layers), "public adapters": len(others)})


def spectra(adapter: Adapter) -> dict[str, torch.Tensor]:
    """By layer, the singular values of what the adapter adds to its weight: float64 ``(r,)``, falling."""
    found = {}
    for name, (a, b) in adapter.factors.items():
        r_a, r_b = (torch.linalg.qr(x.double(), mode="r").R for x in (a.flatten(1).mT, b.flatten(1)))
        found[name] = adapter.alphas[name] / len(a) * torch.linalg.svdvals(r_b @ r_a.mT)
    return found


def _distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Euclidean; where ranks differ, the values that one of them lacks are zero."""
    size = max(len(one), len(two))
    padded = [torch.nn.functional.pad(x, (0, size - len(x))) for x in (one, two)]
    return float(torch.linalg.vector_norm(padded[0] - padded[1]))
