"""What the file says of itself, before a single weight is looked at: certain, instant and free.

Trainers write captions, names of folders and models, counts, times, comments and pictures into the header (kohya's ``ss_*``, the model
specification's ``modelspec.*``, OneTrainer's ``ot_config``). What the tensors alone tell is reported beside it: no scrubbing removes that.
"""

from __future__ import annotations

from typing import Any

from sfumato.adapters import conventions
from sfumato.adapters.formats import parse
from sfumato.adapters.notes import facts_of
from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights.base import File, Guess, Target
from sfumato.core.errors import UserError
from sfumato.core.header import Header, read_header

DESCRIPTION = "read the file's header: captions, folders, counts, times, comments, trigger words, thumbnail"
TARGETS: tuple[Target, ...] = ("caption", "count")
NEEDS: tuple[type, ...] = (File,)


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """``facts`` holds what was found and nothing else; ``facts["read_from"]`` says under which names each of it stands."""
    data = scenario[File].data
    header = read_header(data)
    facts = facts_of(header)
    if family := conventions.family({name: shape for name, (_, shape) in header.tensors.items()}):
        facts["family"] = family
    facts["tensors"] = _tensors(data, header)
    tell(1, 1)
    return Guess(facts=facts, budget={"bytes": len(data), "notes": len(header.notes)})


def _tensors(data: bytes, header: Header) -> dict[str, Any]:
    """What the weights tell by being there."""
    kinds = sorted({kind for kind, _ in header.tensors.values()})
    try:
        adapter = parse(data, name="the file")
    except UserError as error:
        return {"types": kinds, "unreadable": error.got}
    return {
        "types": kinds,
        "rank": sorted(set(adapter.ranks.values())),
        "lora_alpha": sorted(set(adapter.alphas.values())),
        "targets": sorted({_ending(name) for name in adapter.factors}),
        "layers": len(adapter.factors),
        "parameters": adapter.parameters,
        "text_encoder": any(not name.startswith("unet.") for name in adapter.factors),
        "unknown": list(adapter.unknown),
    }


def _ending(name: str) -> str:
    """``to_out`` of ``unet. ... .attn1.to_out.0``."""
    return next(part for part in reversed(name.split(".")) if not part.isdigit())
