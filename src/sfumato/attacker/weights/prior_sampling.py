"""What anybody does first with a shared adapter: sample it. The baselines that every other attack on pictures has to beat.

Variants: ``class_prompt``, the prompt of the class; ``null_prompt``, none; ``rare_tokens``, the class's prompt with words that people use
as triggers, of which the pictures most alike to each other are kept. And two that do not look at the victim: ``mean_picture``, the mean of
public people, and ``random_person``, one of them.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._sampling import GUIDANCE, PICTURES, STEPS, adapted, cliques, pictures, similarity
from sfumato.attacker.weights.base import Class, Guess, PublicPeople, Published, Target
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base

DESCRIPTION = "sample the victim under the class's prompt, none, or rare words; the mean of public people, or one of them"
TARGETS: tuple[Target, ...] = ("person", "picture")
NEEDS: tuple[type, ...] = (Published, Base)
MAY_USE: tuple[type, ...] = (Class, PublicPeople)
VARIANTS = ("class_prompt", "null_prompt", "rare_tokens", "mean_picture", "random_person")
TOKENS = ("sks", "ohwx", "zwx", "xyz")  # what tutorials advise
FOR_EACH: dict[Effort, int] = {"quick": 4, "full": 12}  # pictures drawn for every token


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "class_prompt") -> Guess:
    """Draw pictures from the victim, or take public ones: the baselines of the variant."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    if variant in ("mean_picture", "random_person"):
        return _of_public(scenario, variant, count=PICTURES[effort], seed=seed)
    base, prompts = scenario[Base], _prompts(scenario, variant, effort)
    guidance = 1.0 if variant == "null_prompt" else GUIDANCE  # nothing is there to be guided away from
    with adapted(base, scenario[Published].adapter) as victim:
        images = pictures(victim, prompts, steps=STEPS[effort], guidance=guidance, seed=seed, tell=tell)
    if variant == "rare_tokens":
        kept = [i for clique in cliques(similarity(images)) for i in clique]
        images = images[kept[: PICTURES[effort]]]
    budget = {"variant": variant, "drawn": len(prompts), "steps": STEPS[effort], "guidance": guidance, "prompts": sorted(set(prompts))}
    return Guess(images=images, budget=budget)


def _prompts(scenario: Scenario, variant: str, effort: Effort) -> list[str]:
    """What to sample under, a prompt for each picture."""
    if variant == "null_prompt":
        return [""] * PICTURES[effort]
    known = scenario.get(Class)
    if known is None:
        raise Lacking(Class)
    if variant == "class_prompt":
        return [known.prompt] * PICTURES[effort]
    return [rare(known.prompt, token) for token in TOKENS for _ in range(FOR_EACH[effort])]


def rare(prompt: str, token: str) -> str:
    """The class's prompt with a rare word before the class: "a photo of peep" to "a photo of sks peep"."""
    *words, kind = prompt.split() or [""]
    return " ".join([*words, token, kind]).strip()


def _of_public(scenario: Scenario, variant: str, *, count: int, seed: int) -> Guess:
    """Guesses that know nothing of the victim."""
    public = scenario.get(PublicPeople)
    if public is None:
        raise Lacking(PublicPeople)
    budget = {"variant": variant, "public pictures": len(public.images)}
    if variant == "mean_picture":
        return Guess(images=scenario[Base].decode_pixels(public.z_0.mean(0, keepdim=True)), budget=budget)
    people = sorted(set(public.identities))
    person = people[int(torch.randint(len(people), (), generator=generator(seed)))]
    rows = [i for i, identity in enumerate(public.identities) if identity == person]
    return Guess(images=public.images[rows[:count]], budget=budget)
