"""Adapters merged into one base each: what several merges give away of the base."""

from __future__ import annotations

from typing import Any

import torch

from sfumato.adapters import formats
from sfumato.adapters.conventions import UNET
from sfumato.adapters.lora import linears
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights.base import Guess, Merged
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base
from sfumato.studies.lora.people import PeopleConfig, Victim


def measure(base: Base, victims: list[Victim], config: PeopleConfig, *, effort: Effort = "quick") -> dict[str, Any]:
    """How near the base comes back, against the mean of the merges."""
    adapters = [formats.read(victim.file) for victim in victims]
    layers = {name: layer for name, layer in linears(base, config.lora).items() if name.startswith(UNET)}
    originals = {name: layer.weight.detach().double().cpu() for name, layer in layers.items()}
    deltas = [adapter.deltas() for adapter in adapters]
    merges = {name: torch.stack([w_0 + delta[name].double() for delta in deltas]) for name, w_0 in originals.items()}
    guess = attacks.attempt("spectral_detuning", Scenario(Merged(merges, config.rank)), effort=effort)
    if not isinstance(guess, Guess) or guess.weights is None:
        raise UserError(f"spectral_detuning came to nothing ({guess})", privacy="that is no proof of safety")
    errors = {"recovered": guess.weights, "mean of the merges": {name: several.mean(0) for name, several in merges.items()}}
    scale = sum(float((several - originals[name]).square().sum()) / len(several) for name, several in merges.items()) ** 0.5
    told = {
        what: sum(float((w - originals[name]).square().sum()) for name, w in weights.items()) ** 0.5 / scale
        for what, weights in errors.items()
    }
    return {"error, relative to one adapter": told, "merges": len(adapters), "layers": len(layers), "budget": guess.budget}
