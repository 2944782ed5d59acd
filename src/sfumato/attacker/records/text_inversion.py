"""The caption out of its context, token by token.

CLIP's text encoder is causal: what it says at position i depends on the tokens up to i alone. So the token at i is the one whose output is
nearest, once those before are known, and a caption costs one look through the vocabulary for each of its tokens instead of a search over
sentences. A context is a caption in the clear; where noise was added, the nearest token is the likeliest.

Two savings: captions that begin alike share their looks, and tokens that other captions had are tried first. The vocabulary is only gone
through where none of these fits exactly.
"""

from __future__ import annotations

import re

import torch

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Contexts, Scenario
from sfumato.attacker.records.base import Guess, Target
from sfumato.diffusion.base import Base

DESCRIPTION = "greedy search for the tokens of a released text context: the text encoder is causal"
TARGETS: tuple[Target, ...] = ("prompt",)
NEEDS: tuple[type, ...] = (Contexts, Base)
COUNT: dict[Effort, int] = {"quick": 64, "full": 500}
EXACT = 1e-3  # a miss below this share of a context's length is rounding: wrong tokens miss by a hundred times as much
BATCH = 256


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Guess every prompt. Nothing is drawn, and ``effort`` only says how many records it is offered."""
    base, contexts = scenario[Base], scenario[Contexts].context
    count, length, _ = contexts.shape
    first, end = base.tokenizer.bos_token_id, base.tokenizer.eos_token_id
    written: list[tuple[int, ...]] = [(first,)] * count
    used: dict[int, None] = {end: None}  # tokens that fitted so far, in order
    looks, curve = 0, []

    for i in range(1, length):
        alike: dict[tuple[int, ...], list[int]] = {}
        for row, tokens in enumerate(written):
            if len(tokens) == i and (i == 1 or tokens[-1] != end):
                alike.setdefault(tokens, []).append(row)
        missed = []
        for prefix, rows in alike.items():
            wanted = contexts[rows, i]
            nearest, miss = _nearest(base, prefix, list(used), wanted)
            looks += len(used)
            unsure = miss > EXACT
            if bool(unsure.any()):
                nearest[unsure], miss[unsure] = _nearest(base, prefix, list(range(len(base.tokenizer))), wanted[unsure])
                looks += len(base.tokenizer)
            used |= dict.fromkeys(nearest.tolist())
            for row, token in zip(rows, nearest.tolist(), strict=True):
                written[row] = (*prefix, token)
            missed.append(miss)
        if missed:
            curve.append((float(looks), float(torch.cat(missed).mean())))
        tell(i, length - 1)
    prompts = [_text(base, [t for t in tokens if t not in (first, end)]) for tokens in written]
    return Guess(prompts=prompts, curve=curve, budget={"looks": looks, "vocabulary": len(base.tokenizer)})


def _text(base: Base, tokens: list[int]) -> str:
    """Tokens in words, without the spaces that tokenizers put before commas."""
    return re.sub(r" (?=[,.;:!?])", "", base.tokenizer.decode(tokens).strip())


@torch.no_grad()
def _nearest(base: Base, prefix: tuple[int, ...], tokens: list[int], wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of ``tokens`` after ``prefix``, the nearest to each of ``wanted`` ``(R, D)``, and by how much it misses, as a share of its length."""
    device = base.text_encoder.device
    ids = torch.tensor([[*prefix, token] for token in tokens], device=device)
    found = torch.cat([base.text_encoder(part).last_hidden_state[:, -1].float().cpu() for part in ids.split(BATCH)])
    distance = torch.cdist(wanted.float(), found, compute_mode="donot_use_mm_for_euclid_dist")
    miss, index = distance.min(1)
    return torch.tensor(tokens)[index], miss / wanted.float().norm(dim=1)
