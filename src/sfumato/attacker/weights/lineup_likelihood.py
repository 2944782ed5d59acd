"""Which of these people was it? Ask the adapter itself: whose other pictures does it denoise better than the base does?

For each candidate's other pictures, none of which was trained on, ``loss(base) - loss(adapted)`` at the same noise steps
and with the same noise for everybody, the mean over pictures and steps. The adapter speaks under one rare word, for nobody
knows the trigger; the base under the empty prompt. No picture is made. It is the natural statistic for "who is in it": a log
likelihood ratio, were the errors of the predicted noise normal and equally large at every step.

Some people please every adapter, for they look like people in general. So the attacker asks adapters of public people, who
are none of the candidates, about the same pictures (``PublicAdapters``). Variants: ``calibrated`` takes off what these say
of each candidate, as far as the victim's adapter says the same, and measures what is left by how much they differ;
``raw`` does without them.

Noise depends on nothing but the effort, so that what the base says is asked once for a line-up, and what public adapters
say, too. Notation: M candidates, K pictures of each, E looks (a picture of everybody, a step, a draw of noise).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._sampling import merged
from sfumato.attacker.weights._shadows import PublicAdapters
from sfumato.attacker.weights.base import Class, Guess, LineUp, Published, Target
from sfumato.attacker.weights.prior_sampling import TOKENS, rare
from sfumato.core.device import autocast, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base

DESCRIPTION = "whose other pictures does the adapted model denoise better than the base: a line-up, without any picture made"
TARGETS: tuple[Target, ...] = ("person",)
NEEDS: tuple[type, ...] = (Published, Base, LineUp)
MAY_USE: tuple[type, ...] = (Class, PublicAdapters)
VARIANTS = ("calibrated", "raw")
RANGE = (0.3, 0.9)  # of T: below, losses tell how smooth a picture is; above, nothing is left of it
STEPS = 8
PICTURES: dict[Effort, int] = {"quick": 3, "full": 5}  # of each candidate at most
CALIBRATORS: dict[Effort, int] = {"quick": 16, "full": 64}  # public people
OWN = 16  # so many public adapters' worth of the pooled variance is in a candidate's own
BATCH = 200
SEED = 70_111

_SAID: WeakKeyDictionary[LineUp, dict[Any, torch.Tensor]] = WeakKeyDictionary()


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "calibrated") -> Guess:
    """``scores`` ``(M,)`` over the line-up's people. See the module."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    base, line_up, public = scenario[Base], scenario[LineUp], scenario.get(PublicAdapters)
    if variant == "calibrated" and public is None:
        raise Lacking(PublicAdapters)
    kind = scenario.get(Class)
    prompt = TOKENS[0] if kind is None else rare(kind.prompt, TOKENS[0])
    scores = gains(base, scenario[Published].adapter, line_up, prompt=prompt, effort=effort)
    calibrators = 0
    if variant == "calibrated" and public is not None:
        others = of_public(base, public, line_up, prompt=prompt, effort=effort, tell=tell)
        scores, calibrators = calibrated(scores, others), len(others)
    budget = {
        "variant": variant, "candidates": len(scores), "pictures of each": min(PICTURES[effort], line_up.z_0.shape[1]),
        "looks": len(looks(line_up, effort)), "public adapters": calibrators, "prompt": prompt,
    }  # fmt: skip
    return Guess(scores=scores, budget=budget)


def looks(line_up: LineUp, effort: Effort) -> list[tuple[int, int]]:
    """Pairs of a picture's number and a step's: every picture at every step."""
    count = min(PICTURES[effort], line_up.z_0.shape[1])
    return [(k, j) for k in range(count) for j in range(STEPS)]


def gains(base: Base, adapter: Adapter, line_up: LineUp, *, prompt: str, effort: Effort) -> torch.Tensor:
    """By candidate, how much less the adapted model loses than the base, the mean over looks: ``(M,)``."""
    plain = _said(line_up, (base.unet_fingerprint, effort), lambda: losses(base, line_up, "", effort))
    adapted = _said(
        line_up, (base.unet_fingerprint, effort, prompt, _digest(adapter)), lambda: losses(merged(base, adapter), line_up, prompt, effort)
    )
    return (plain - adapted).mean(1)


@torch.no_grad()
def losses(base: Base, line_up: LineUp, prompt: str, effort: Effort) -> torch.Tensor:
    """Mean squared errors of the predicted noise under one prompt, ``(M, E)``; everybody meets the same noise."""
    context, found, device = base.embed([prompt]), [], base.unet.device
    low, high = (share * base.schedule.steps for share in RANGE)
    for picture, j in looks(line_up, effort):
        t = round(low + (high - low) * j / (STEPS - 1))
        eps = torch.randn(line_up.z_0.shape[2:], generator=generator(SEED, picture, j)).to(device)
        parts = []
        for z_0 in line_up.z_0[:, picture].split(BATCH):
            z_t = base.schedule.add_noise(z_0.to(device), t, eps).to(base.unet.dtype)
            step = torch.full((len(z_t),), t, device=device)
            with autocast(device, choose_precision(device)):
                said = base.predict_noise(z_t, step, context.to(z_t).expand(len(z_t), -1, -1), dtype=torch.float32)
            parts.append((said - eps).square().mean((1, 2, 3)).cpu())
        found.append(torch.cat(parts))
    return torch.stack(found, dim=1)


def of_public(base: Base, public: PublicAdapters, line_up: LineUp, *, prompt: str, effort: Effort, tell: Tell) -> torch.Tensor:
    """What adapters of the first public people say of the same candidates, ``(P, M)``, each after one of the usual numbers of steps."""
    people, steps = public.shadows.people, public.usual()
    count = min(CALIBRATORS[effort], len(people))
    draws = torch.randint(len(steps), (count,), generator=generator(SEED, 1)).tolist()
    rows = []
    for k, draw in enumerate(draws):
        rows.append(gains(base, public.adapter(k, steps[draw]), line_up, prompt=prompt, effort=effort))
        tell(k + 1, count)
    return torch.stack(rows)


def calibrated(own: torch.Tensor, public: torch.Tensor) -> torch.Tensor:
    """What an adapter says of candidates beyond what adapters of strangers say of them.

    Args:
        own: of the victim's adapter, ``(M,)``.
        public: of P adapters of people who are none of the candidates, ``(P, M)``.

    Returns:
        ``(M,)``, in standard deviations of strangers. Each candidate's mean over the strangers is taken off, after it was
        scaled to the victim's adapter by least squares over all candidates (a longer training says everything louder);
        variances are those of what is so left of each stranger, drawn towards the pooled one where strangers are few.
    """
    if public.ndim != 2 or public.shape[1:] != own.shape or len(public) < 2 or len(own) < 2:
        got = f"{tuple(own.shape)} and {tuple(public.shape)}"
        raise UserError(got, expected="(M,) and (P, M), with two public adapters and two candidates at least")
    own, public = own.double(), public.double()
    left = torch.stack([_beyond(row, public[[i for i in range(len(public)) if i != k]].mean(0)) for k, row in enumerate(public)])
    squares = left.square().mean(0)
    pooled = squares.mean().clamp(min=1e-12)
    variance = (len(public) * squares + OWN * pooled) / (len(public) + OWN)
    return (_beyond(own, public.mean(0)) / variance.sqrt()).float()


def _beyond(values: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """What is left of ``values`` ``(M,)`` after the best ``a + b usual``."""
    x, y = usual - usual.mean(), values - values.mean()
    slope = (x @ y) / (x @ x).clamp(min=1e-12)
    found: torch.Tensor = y - slope * x
    return found


def _digest(adapter: Adapter) -> str:
    parts = (part for pair in adapter.factors.values() for part in pair)
    said = hashlib.sha256(repr(sorted(adapter.alphas.items())).encode())
    for part in parts:
        said.update(part.detach().cpu().contiguous().float().numpy().tobytes())
    return said.hexdigest()


def _said(line_up: LineUp, key: Any, ask: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What was asked about a line-up before is not asked again, as long as somebody holds it."""
    kept = _SAID.setdefault(line_up, {})
    if key not in kept:
        kept[key] = ask()
    return kept[key]
