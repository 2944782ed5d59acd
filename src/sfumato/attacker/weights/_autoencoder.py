"""A trained network autoencoder: from an adapter to the *network embedding*, what its UNet shall see in a prompt's place; and its file.

mu, log_var = anchor + encoder(A, B, step)        z = mu + exp(log_var / 2) xi, (L, D), as a prompt's context is
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from sfumato._version import __version__
from sfumato.adapters.lora import Adapter
from sfumato.attacker.weights._encoders import base as encoders
from sfumato.attacker.weights._layout import Factors, Layout, norms, seen
from sfumato.core import registry
from sfumato.core.artifact import from_bytes, metadata_of, to_bytes, write_atomic
from sfumato.core.errors import UserError
from sfumato.core.outside import read_bytes
from sfumato.core.randomness import generator, seeded
from sfumato.diffusion.base import Base

SCHEMA = 1
FILE_BYTES = 2**31
LOG_VAR = -6.0  # of z before training
RANGE = (-12.0, 4.0)  # of log_var
KNOWLEDGE = "the base; how adapters of this kind are trained; adapters trained so on public people, and those people's pictures"


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """How a network autoencoder is built and trained.

    Attributes:
        encoder: its name.
        size: how many times as wide as usual it is inside.
        steps_used: whether all kept steps of the public adapters are learned from, or only the last of each.
        with_step: whether it is told for how many steps an adapter was trained.
        log_step: whether it is told the logarithm of that.
        anchored: whether z is an offset from the empty prompt's context; the paper's is not.
        kl_weight: of the mean over L D numbers of ``KL(N(mu - anchor, exp(log_var)) || N(0, 1))``.
        budget: optimiser steps.
        together, rows: adapters in a step, each of another person, and pictures of each.
        t_from: the first noise step at which they are looked at: below it a context says next to nothing, and its loss is noise.
        lr, weight_decay, clip: AdamW's, after a short warm-up falling along a cosine, and the gradient's largest norm.
        aside: share of the people that are set aside to be measured on.
        validate_every: steps. What did best is kept.
        patience: measurements in a row without a better one after which it stops; 0 for never.
        precision: ``no``, or ``bf16`` for autocast of the UNet.
        checkpoint_every: steps.
        seed: of first weights and all draws.
    """

    encoder: str = "hypernet"
    size: int = 1
    steps_used: str = "all"
    with_step: bool = True
    log_step: bool = True
    anchored: bool = True
    kl_weight: float = 1e-5
    budget: int = 4000
    together: int = 16
    rows: int = 2
    t_from: int = 200
    lr: float = 1e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    aside: float = 0.1
    validate_every: int = 100
    patience: int = 0
    precision: str = "no"
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.encoder not in encoders.names():
            raise UserError(f"encoder {self.encoder!r}", expected=f"one of {', '.join(encoders.names())}")
        if self.steps_used not in ("all", "final"):
            raise UserError(f"steps_used {self.steps_used!r}", expected="all or final")
        if self.precision not in ("no", "bf16"):
            raise UserError(f"precision {self.precision!r}", expected="no or bf16")
        for name in ("size", "budget", "together", "rows", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}", expected="at least 1")
        for name in ("kl_weight", "weight_decay", "patience", "t_from"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)}", expected="a number from 0 up")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)}", expected="a number above 0")
        if not 0 <= self.aside < 1:
            raise UserError(f"aside {self.aside}", expected="a share from 0 up to, but not, 1")

    def identity(self) -> dict[str, Any]:
        """What decides the weights."""
        return {key: value for key, value in asdict(self).items() if key != "checkpoint_every" and (key, value) != ("size", 1)}


@dataclass(frozen=True, eq=False)
class Embedding:
    """The network embedding of one adapter: ``mu`` and ``log_var`` ``(L, D)``, and what was done to get it."""

    mu: torch.Tensor
    log_var: torch.Tensor
    facts: dict[str, Any] = field(default_factory=dict)

    def draw(self, count: int, *, generator: torch.Generator) -> torch.Tensor:
        """``count`` contexts ``(count, L, D)``: the mean, then draws."""
        xi = torch.randn((count, *self.mu.shape), generator=generator)
        xi[0] = 0
        return self.mu + (self.log_var / 2).exp() * xi


class Autoencoder(nn.Module):
    """An encoder with what it needs around it. The decoder is the adapter's own UNet, and no part of this."""

    anchor: torch.Tensor
    stages: torch.Tensor

    def __init__(self, base: Base, layout: Layout, config: AutoencoderConfig, *, steps: tuple[int, ...]) -> None:
        super().__init__()
        self.layout, self.config, self.steps, self.base = layout, config, steps, base.unet_fingerprint
        self.facts: dict[str, Any] = {}
        empty = base.empty_context
        with seeded(config.seed, 1):
            kind = registry.get(encoders.PACKAGE, config.encoder).Encoder
            self.encoder: Any = kind(layout, *empty.shape[1:], text=_text(base), draws=generator(config.seed, 2), size=config.size)
        self.register_buffer("anchor", empty.clone() if config.anchored else torch.zeros_like(empty))
        self.register_buffer("stages", torch.zeros(len(steps), len(layout.sides)))
        self.to(base.unet.device)

    @torch.no_grad()
    def fit(self, rows: torch.Tensor, steps: torch.Tensor) -> None:
        """Set scales by n public adapters ``(n, P)`` after ``steps`` ``(n,)``."""
        factors = self.layout.factors(rows.to(self.anchor.device))
        cast(encoders.Encoder, self.encoder).fit(factors)
        sizes = _logs(norms(factors))
        self.stages.copy_(torch.stack([sizes[(steps == step).to(sizes.device)].mean(0) for step in self.steps]).nan_to_num(1e6))

    def forward(self, factors: Factors, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``mu`` and ``log_var`` ``(K, L, D)`` of K adapters after ``steps`` ``(K,)``."""
        offset, spread = self.encoder(factors, self._step(steps.to(self.anchor.device))).chunk(2, dim=-1)
        return self.anchor + offset, (LOG_VAR + spread).clamp(*RANGE)

    @torch.no_grad()
    def embed(self, adapter: Adapter, *, steps: int | None = None) -> Embedding:
        """The network embedding of anybody's adapter.

        Args:
            adapter: one of the base and some of the layers that this was trained for.
            steps: for how many it was trained, where known; else that number is guessed by how much the adapter adds.

        Raises:
            UserError: it cannot be read; see ``seen``.
        """
        factors, facts = seen(adapter, self.layout, any_rank=self.encoder.ANY_RANK)
        factors = {name: (a.to(self.anchor), b.to(self.anchor)) for name, (a, b) in factors.items()}
        told = self._guess(norms(factors)[0]) if steps is None else min(max(steps, self.steps[0]), self.steps[-1])
        if self.config.with_step:
            facts["steps"] = f"{told}, guessed" if steps is None else f"{steps}, known" + ("" if told == steps else f", taken as {told}")
        mu, log_var = self(factors, torch.tensor([told]))
        return Embedding(mu[0].cpu(), log_var[0].cpu(), facts)

    def _guess(self, sizes: torch.Tensor) -> int:
        """The step after which public adapters add about as much, over the layers that are there."""
        there = sizes > 0
        if not bool(there.any()):
            return self.steps[len(self.steps) // 2]
        return self.steps[int((_logs(sizes) - self.stages)[:, there].mean(1).abs().argmin())]

    def _step(self, steps: torch.Tensor) -> torch.Tensor:
        """``(K,)`` to ``(K, D)``: sines and cosines, as of diffusion steps. A logarithm is spread over the same range."""
        width = self.anchor.shape[-1]
        if not self.config.with_step:
            return torch.zeros((len(steps), width), device=steps.device)
        x = 1000 * steps.float().clamp(min=1).log() / math.log(1000) if self.config.log_step else steps.float()
        rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=steps.device) / (width // 2))
        angles = x.unsqueeze(1) * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def save(self, path: Path) -> None:
        """Write it whole or not at all: tensors, and notes on what it knows."""
        layers = {name: [*sides, self.layout.alphas[name]] for name, sides in self.layout.sides.items()}
        notes = {
            "schema": SCHEMA, "version": __version__, "guarantee": "none", "knowledge": KNOWLEDGE, "base": self.base,
            "config": asdict(self.config), "layers": layers, "rank": self.layout.rank, "steps": self.steps, "facts": self.facts,
        }  # fmt: skip
        state = {name: value.cpu() for name, value in self.state_dict().items()}
        write_atomic(path, to_bytes(state, {"autoencoder": json.dumps(notes, sort_keys=True)}))


def load(path: Path, base: Base) -> Autoencoder:
    """What ``save`` wrote.

    Raises:
        UserError: no such file, a damaged one, or one for another base.
    """
    path, fix = Path(path), "train it again, or pass the base that it was trained on"
    what = "network autoencoder as .safetensors"
    try:
        data = read_bytes(path, what=what, limit=FILE_BYTES)
    except UserError as error:
        raise UserError(f"{path}: could not be read ({error.got.removeprefix(f'{path}: ')})", expected=f"a {what}") from error
    tensors = from_bytes(data, name=str(path))
    try:
        notes = json.loads(metadata_of(data)["autoencoder"])
        if notes["schema"] != SCHEMA:
            raise ValueError(f"schema {notes['schema']}")
        known = notes["base"]
        sides = {name: (int(out), int(into)) for name, (out, into, _) in notes["layers"].items()}
        layout = Layout(sides, {name: float(alpha) for name, (_, _, alpha) in notes["layers"].items()}, int(notes["rank"]))
        config, steps = AutoencoderConfig(**notes["config"]), tuple(int(step) for step in notes["steps"])
        facts = dict(notes["facts"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: no network autoencoder of this release ({error})", expected=f"schema {SCHEMA}", fix=fix) from error
    check_base(known, base)
    made = Autoencoder(base, layout, config, steps=steps)
    try:
        made.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: its tensors are not those that its notes speak of", fix=fix) from error
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise UserError(f"{path}: values that are no finite numbers", fix=fix)
    made.facts = facts
    return made.eval().requires_grad_(False)


def check_base(known: str, base: Base) -> None:
    """Raise UserError unless ``known`` is the fingerprint of the base's UNet."""
    if known != base.unet_fingerprint:
        raise UserError(
            f"a network autoencoder for base {known[:12]}",
            expected=f"one for base {base.public_name!r}, {base.unet_fingerprint[:12]}",
            fix="train one on public adapters of this base",
        )


def _logs(sizes: torch.Tensor) -> torch.Tensor:
    return sizes.clamp(min=1e-12).log()


def _text(base: Base) -> encoders.Text:
    """The base's text transformer over any tokens: no vocabulary, no places, and everything sees everything."""
    model = getattr(base.text_encoder, "text_model", base.text_encoder)

    def read(tokens: torch.Tensor) -> torch.Tensor:
        return model.final_layer_norm(model.encoder(inputs_embeds=tokens).last_hidden_state)

    return read
