"""Score any arm on the same held-out conditions, prompts and starting noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.core.progress import Tell
from sfumato.diffusion.base import Base
from sfumato.judge.metrics import adherence as scores
from sfumato.judge.metrics.ssim import ssim
from sfumato.pictures import store
from sfumato.server.generate import generate
from sfumato.studies.training import conditioned


@dataclass(frozen=True)
class Arm:
    """What an arm made, uint8 ``(N, H, W, 3)``, and its scores; ``f1`` and ``shuffled`` are
    ``(N,)``."""

    pictures: np.ndarray
    f1: np.ndarray
    shuffled: np.ndarray
    adherence: dict[str, float]
    ssim: float


@dataclass(frozen=True)
class HeldOut:
    """Pictures of people that neither an owner nor the base has seen, their conditions and
    captions."""

    images: np.ndarray
    conditions: np.ndarray
    captions: list[str]
    edges: np.ndarray
    f1_vae: np.ndarray
    condition: str
    seed: int

    @classmethod
    def draw(cls, base: Base, style: str, count: int, *, condition: str, seed: int) -> HeldOut:
        """Draw ``count`` held-out pictures of ``style``; the VAE's own ceiling is measured on
        them."""
        return cls.of(base, store.load(style, "held_out", count, seed=seed + 2), condition=condition, seed=seed)

    @classmethod
    def of(cls, base: Base, held_out: store.PictureSet, *, condition: str, seed: int) -> HeldOut:
        """The same of pictures that are there: ``condition`` is extracted from each, or came with
        them (``conditioned``)."""
        given, condition = conditioned.supplied(condition), conditioned.judge(condition)
        extract = registry.get("conditions", condition).extract
        edges = scores.edges_of(held_out.images, condition)
        reconstructed = base.decode_pixels(base.encode_pixels(held_out.images))
        f1_vae = scores.edge_f1(edges, scores.edges_of(reconstructed, condition))
        if given and held_out.conditions is None:
            raise UserError("pictures without the conditions that they should bring", expected="one of each picture")
        own = held_out.conditions if given else None
        conditions = np.stack([extract(image) for image in held_out.images]) if own is None else own
        return cls(held_out.images, conditions, held_out.captions, edges, f1_vae, condition, seed)

    def score(
        self,
        base: Base,
        controlnet: Any = None,
        settings: dict[str, Any] | None = None,
        *,
        latents: torch.Tensor | None = None,
        precision: str = "no",
        on_step: Tell = lambda done, total: None,
    ) -> Arm:
        """Generate under every condition and compare edges; without a ControlNet, the base alone.

        ``latents`` ``(N, 4, h, w)`` take the place of the conditions' own as what the ControlNet is
        shown.
        """
        conditions = self.conditions if latents is None else latents
        made = generate(
            base, self.captions, seed=self.seed, controlnet=controlnet, settings=settings, conditions=conditions,
            precision=precision, on_step=on_step,
        )  # fmt: skip
        found = scores.edges_of(made, self.condition)
        f1 = scores.edge_f1(self.edges, found)
        shuffled = scores.shuffled_f1(self.edges, found, generator=np.random.default_rng(self.seed))
        result = asdict(scores.adherence(f1, shuffled, self.f1_vae, generator=np.random.default_rng(self.seed)))
        maps = [torch.from_numpy(e.astype(np.uint8) * 255)[:, None] for e in (self.edges, found)]
        adherence = {name: result[name] for name in ("mean", "low", "high", "n")}
        return Arm(made, f1, shuffled, adherence, float(ssim(maps[0], maps[1]).mean()))

    def ratio(self, arm: Arm, ceiling: Arm) -> dict[str, Any]:
        """A of ``arm`` over A of ``ceiling``, paired over conditions, with a 95 % interval."""
        generator = np.random.default_rng(self.seed)
        mean, low, high = scores.ratio(arm.f1, arm.shuffled, ceiling.f1, ceiling.shuffled, f1_vae=self.f1_vae, generator=generator)
        return {"mean": mean, "low": low, "high": high, "n": len(self.f1_vae)}
