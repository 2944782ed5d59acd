"""Was this picture among those that the adapter was trained on? A statistic that is smaller for members, of the base less of the victim.

What the undamaged base says of a picture is how hard it is in any case: only the rest is due to the adapter. Statistics are logarithms, for
an adapter takes a share off a loss. The base reads no caption: a trigger means nothing to it and spoils what it says. Variants:

- ``loss``: the training loss. Yeom et al., arXiv 1709.01604; Matsumoto et al., arXiv 2302.03262.
- ``secmi``: up to t = T / 10 by DDIM, once more up and back, how far from where it was. Duan et al., arXiv 2302.01316.
- ``pia``, ``pian``: the noise predicted at t = 0, used as the noise of t = T / 5, against what is predicted there, in the 4-norm; with the
  noise scaled to a normal draw's length. Kong et al., arXiv 2305.18355.
- ``pfami``: how much less the picture loses than crops of it do: a member is a pit of the loss. Fu et al., arXiv 2308.12143.
- ``clid``: how much less it loses with its caption than without. Zhai et al., arXiv 2405.14800.
- ``lira``: the loss, against Gaussians of what it is under ``KnownMembers`` that had seen the picture and that had not. Carlini et al.,
  arXiv 2112.03570.

Every candidate meets the same steps, noise and crops, so that no score depends on who else is asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F

from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._likelihood_ratio import likelihood_ratio
from sfumato.attacker.weights._sampling import adapted
from sfumato.attacker.weights.base import Candidates, Guess, Published, Target
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.schedule import CLEAN

DESCRIPTION = "was this picture trained on: loss, SecMI, PIA, PIAN, PFAMI, CLiD against the undamaged base; LiRA with shadows"
TARGETS: tuple[Target, ...] = ("member",)
NEEDS: tuple[type, ...] = (Published, Base, Candidates)
DRAWS: dict[Effort, int] = {"quick": 16, "full": 64}
RANGE = (0.3, 0.9)  # of T, where members were told best; below, losses differ by how smooth a picture is, above it hardly matters
CROPS = (0.7, 0.98)  # sides that are kept: the paper's strengths
BATCH = 64


@dataclass(frozen=True, eq=False)
class KnownMembers:
    """The attacker's own adapters, trained as the victim is thought to be, and bool ``(S, M)``: which of them saw which candidate."""

    adapters: tuple[Adapter, ...]
    members: torch.Tensor


MAY_USE: tuple[type, ...] = (KnownMembers,)


class Reader:
    """A base, and how it sees M candidates under their captions, or all of them under the empty prompt."""

    def __init__(self, base: Base, candidates: Candidates, *, captioned: bool = True) -> None:
        self.base, self.z_0 = base, candidates.z_0
        texts = list(dict.fromkeys(["", *candidates.prompts]))
        self._contexts = base.embed(texts)
        self._text = torch.tensor([texts.index(prompt) for prompt in candidates.prompts]) * int(captioned)

    @torch.no_grad()
    def eps(self, z_t: torch.Tensor, t: int, *, captioned: bool = True) -> torch.Tensor:
        """The noise that is predicted in ``z_t`` ``(M, 4, h, w)`` at step ``t``."""
        base, parts = self.base, []
        for at in range(0, len(z_t), BATCH):
            z = z_t[at : at + BATCH].to(base.unet.device, base.unet.dtype)
            text = self._text[at : at + BATCH] * int(captioned)
            step = torch.full((len(z),), t, device=z.device)
            parts.append(base.predict_noise(z, step, self._contexts[text].to(z)).float().cpu())
        return torch.cat(parts)

    def noised(self, z_0: torch.Tensor, eps: torch.Tensor, t: int) -> torch.Tensor:
        """``z_t`` of ``z_0``."""
        return self.base.schedule.add_noise(z_0, t, eps)

    def loss(self, z_0: torch.Tensor, eps: torch.Tensor, t: int, *, captioned: bool = True) -> torch.Tensor:
        """Log of the mean squared error of the noise ``eps`` ``(1, 4, h, w)`` that all of ``z_0`` get, ``(M,)``."""
        return _log((self.eps(self.noised(z_0, eps, t), t, captioned=captioned) - eps).square().mean((1, 2, 3)))

    def moved(self, z: torch.Tensor, at: int, to: int) -> torch.Tensor:
        """A step of DDIM from ``at`` to ``to``, down or up; ``CLEAN`` is where pictures are."""
        eps = self.eps(z, max(at, 0))
        z_0 = (z - float(self.base.schedule.sigma(at)) * eps) / float(self.base.schedule.alpha(at))
        return self.noised(z_0, eps, to)


Statistic = Callable[[Reader, int, int], torch.Tensor]


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "loss") -> Guess:
    """``scores`` ``(M,)``, larger for members. See the module."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    base, candidates, draws = scenario[Base], scenario[Candidates], DRAWS[effort]
    if not len(candidates.z_0) or len(candidates.z_0) != len(candidates.prompts):
        raise UserError(
            f"{len(candidates.z_0)} candidates with {len(candidates.prompts)} prompts", expected="one for each, and one at least"
        )
    shadows = scenario.get(KnownMembers)
    if variant == "lira" and shadows is None:
        raise Lacking(KnownMembers)
    statistic, asked = STATISTICS.get(variant, _loss), [scenario[Published].adapter]
    asked += list(shadows.adapters) if variant == "lira" and shadows is not None else []
    plain = 0.0 if statistic is _clid else statistic(Reader(base, candidates, captioned=False), draws, seed)
    gains: list[torch.Tensor] = []
    for done, adapter in enumerate(asked, 1):
        with adapted(base, adapter) as victim:
            gains.append(plain - statistic(Reader(victim, candidates), draws, seed))
        tell(done, len(asked))
    scores = gains[0] if len(asked) == 1 or shadows is None else likelihood_ratio(gains[0], torch.stack(gains[1:]), shadows.members)
    return Guess(scores=scores, budget={"variant": variant, "draws": draws, "candidates": len(scores), "shadows": len(asked) - 1})


def _loss(reader: Reader, draws: int, seed: int) -> torch.Tensor:
    return torch.stack([reader.loss(reader.z_0, eps, t) for t, eps, _ in _draws(reader, draws, seed)]).mean(0)


def _clid(reader: Reader, draws: int, seed: int) -> torch.Tensor:
    drop = []
    for t, eps, _ in _draws(reader, draws, seed):
        drop.append(reader.loss(reader.z_0, eps, t) - reader.loss(reader.z_0, eps, t, captioned=False))
    return torch.stack(drop).mean(0)


def _pfami(reader: Reader, draws: int, seed: int) -> torch.Tensor:
    drop = []
    for t, eps, own in _draws(reader, draws, seed):
        drop.append(reader.loss(reader.z_0, eps, t) - reader.loss(cropped(reader.z_0, own), eps, t))
    return torch.stack(drop).mean(0)


def _secmi(reader: Reader, draws: int, seed: int) -> torch.Tensor:
    steps = reader.base.schedule.steps
    stride = max(1, steps // 100)
    grid = [CLEAN, *range(stride, steps // 10 + 1, stride)]
    z = reader.z_0
    for at, to in pairwise(grid):
        z = reader.moved(z, at, to)
    back = reader.moved(reader.moved(z, grid[-1], grid[-1] + stride), grid[-1] + stride, grid[-1])
    return _log(torch.linalg.vector_norm(back - z, dim=(1, 2, 3)))


def _pia(reader: Reader, draws: int, seed: int, *, normal: bool = False) -> torch.Tensor:
    eps = reader.eps(reader.z_0, 0)
    if normal:
        eps = eps * (2 / torch.pi) ** 0.5 / eps.abs().mean((1, 2, 3), keepdim=True)  # E|eps| of a normal draw
    t = reader.base.schedule.steps // 5
    return _log(torch.linalg.vector_norm(reader.eps(reader.noised(reader.z_0, eps, t), t) - eps, ord=4, dim=(1, 2, 3)))


def _pian(reader: Reader, draws: int, seed: int) -> torch.Tensor:
    return _pia(reader, draws, seed, normal=True)


STATISTICS: dict[str, Statistic] = {"loss": _loss, "secmi": _secmi, "pia": _pia, "pian": _pian, "pfami": _pfami, "clid": _clid}
VARIANTS = (*STATISTICS, "lira")


def _log(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(min=1e-12).log()


def _draws(reader: Reader, draws: int, seed: int) -> list[tuple[int, torch.Tensor, torch.Generator]]:
    """Steps evenly over ``RANGE``, noise ``(1, 4, h, w)`` for each, and a generator for more of the same draw."""
    low, high = (share * reader.base.schedule.steps for share in RANGE)
    found = []
    for k in range(draws):
        own = generator(seed, k)
        t = int(low + (high - low) * (k + 0.5) / draws)
        found.append((t, torch.randn(reader.z_0[:1].shape, generator=own), own))
    return found


def cropped(z: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """A random crop of latents ``(M, 4, h, w)``, the same for all of them, and back to their size."""
    h, w = z.shape[-2:]
    low, high = CROPS
    side = low + (high - low) * float(torch.rand((), generator=draws))
    tall, wide = max(1, round(side * h)), max(1, round(side * w))
    top, left = (int(torch.randint(room + 1, (), generator=draws)) for room in (h - tall, w - wide))
    return F.interpolate(z[..., top : top + tall, left : left + wide], (h, w), mode="bilinear", align_corners=False)
