"""Fine-tune K adapters at once on one frozen base: the mathematics of K runs of ``train_one``, one forward pass a step.

Every adapter's matrices are slices of one tensor ``theta`` ``(K, P)``. A layer computes, for a batch laid out as K groups of rows,

    y = W_0 x + (lora_alpha / r) B_k A_k x        for every row of group k, as two batched products

so that the losses' sum has each adapter's own gradient in its own row. Clipping and AdamW work on rows, which is AdamW as it is:
element by element. Rates, data, prompts, noise and first weights are each adapter's own; batch and number of steps are common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sfumato.adapters.dreambooth import FinetuneConfig, Task, contexts_of, draw, losses, tokens_of
from sfumato.adapters.lora import Adapter, LoraSettings, linears
from sfumato.adapters.train_one import first_adapter
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base


class StackedLinear(nn.Module):
    """A frozen linear layer under K adapters; ``A`` ``(K, r, in)`` and ``B`` ``(K, out, r)`` are leaves of the graph."""

    def __init__(self, base_layer: nn.Linear, a: torch.Tensor, b: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.base_layer, self.scale = base_layer, scale
        self.pair = a, b  # no parameters of the module: theta owns them

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(K g, *, in)`` to ``(K g, *, out)``; rows k g ... (k + 1) g - 1 go through adapter k."""
        a, b = self.pair
        y = self.base_layer(x)
        rows = x.reshape(len(a), -1, x.shape[-1])
        low = torch.bmm(rows, a.mT.to(rows.dtype))
        out = torch.baddbmm(y.reshape(len(a), -1, y.shape[-1]), low, b.mT.to(low.dtype), alpha=self.scale)
        return out.view(y.shape)


class Stack:
    """K adapters as one ``theta`` ``(K, P)``; every matrix is a view of it, and a leaf of the graph."""

    def __init__(self, adapters: list[Adapter], *, device: Any) -> None:
        first = adapters[0].factors
        shapes = [(name, part, first[name][part].shape) for name in first for part in (0, 1)]
        self.alphas = adapters[0].alphas
        flat = [torch.cat([adapter.factors[name][part].flatten() for name, part, _ in shapes]) for adapter in adapters]
        self.theta = torch.stack(flat).to(device)
        self._views: dict[str, tuple[int, torch.Size, torch.Size]] = {}
        self.leaves: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        at = 0
        for name, (a, b) in first.items():
            self._views[name] = (at, a.shape, b.shape)
            cut_a, cut_b = self._cut(self.theta, name)
            self.leaves[name] = cut_a.detach().requires_grad_(), cut_b.detach().requires_grad_()
            at += a.numel() + b.numel()

    def _cut(self, flat: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """``A`` ``(*, r, in)`` and ``B`` ``(*, out, r)`` of layer ``name`` in ``flat`` ``(*, P)``."""
        at, a, b = self._views[name]
        middle = at + a.numel()
        return flat[..., at:middle].unflatten(-1, a), flat[..., middle : middle + b.numel()].unflatten(-1, b)

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """Of ``loss`` by theta, ``(K, P)``. Where each row's loss is its own, so is each row's gradient."""
        leaves = [leaf for pair in self.leaves.values() for leaf in pair]
        return torch.cat([part.flatten(1) for part in torch.autograd.grad(loss, leaves)], dim=1)

    def factors(self, flat: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Copies of every layer's matrices in ``flat`` ``(*, P)``, on the CPU."""
        return {name: (a.cpu().clone(), b.cpu().clone()) for name in self._views for a, b in [self._cut(flat, name)]}

    def adapter(self, flat: torch.Tensor) -> Adapter:
        """One adapter's row ``(P,)`` as an adapter."""
        return Adapter(factors=self.factors(flat), alphas=dict(self.alphas))


class RowAdamW:
    """Clipping by every row's own norm, then AdamW as ``torch.optim.AdamW`` computes it, with a rate for every row."""

    def __init__(self, theta: torch.Tensor, lrs: torch.Tensor, config: FinetuneConfig) -> None:
        self._theta, self._config = theta, config
        self._lrs = lrs.to(theta).unsqueeze(1)
        self._m, self._v = torch.zeros_like(theta), torch.zeros_like(theta)
        self._steps = 0

    @torch.no_grad()
    def step(self, grad: torch.Tensor) -> None:
        """One step along ``grad`` ``(K, P)``."""
        theta, beta_1, beta_2 = self._theta, 0.9, 0.999
        self._steps += 1
        norm = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
        grad = grad * (self._config.clip / (norm + 1e-6)).clamp(max=1.0)
        theta.mul_(1 - self._lrs * self._config.weight_decay)
        self._m.lerp_(grad, 1 - beta_1)
        self._v.mul_(beta_2).addcmul_(grad, grad, value=1 - beta_2)
        spread = (self._v.sqrt() / (1 - beta_2**self._steps) ** 0.5).add_(1e-8)
        theta.sub_(self._lrs / (1 - beta_1**self._steps) * self._m / spread)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedMany:
    """What comes of K adapters: rows of ``kept[step]`` ``(K, P)`` are adapters; ``losses`` ``(steps, K)``."""

    kept: dict[int, torch.Tensor]
    losses: torch.Tensor
    stack: Stack

    def adapter(self, k: int, *, step: int | None = None) -> Adapter:
        """Adapter ``k`` after ``step`` steps, by default the last."""
        return self.stack.adapter(self.kept[max(self.kept) if step is None else step][k])

    def trajectory(self, k: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Adapter ``k`` at every kept step: by name ``A`` ``(S, r, in)`` and ``B`` ``(S, out, r)``."""
        return self.stack.factors(torch.stack([self.kept[step][k] for step in sorted(self.kept)]))


def train_many(
    base: Base,
    tasks: list[Task],
    settings: LoraSettings,
    config: FinetuneConfig,
    *,
    keep: Iterable[int] = (),
    on_step: Callable[[int, torch.Tensor], None] = lambda step, losses: None,
) -> TrainedMany:
    """Fine-tune one adapter for each of ``tasks``, all at once.

    Args:
        base: frozen; carries the adapters while this runs, and nothing afterwards.
        tasks: K of them, all with class pictures or all without.
        settings, config: the same for all; a task's own ``lr`` goes before the configuration's.
        keep: steps after which every adapter is wanted; the last always is.
        on_step: told the steps done and their losses ``(K,)``.

    Raises:
        UserError: tasks that cannot share a batch, or a loss that is not finite.
    """
    if not tasks or len({task.class_latents is None for task in tasks}) != 1:
        got = "no task" if not tasks else "some tasks with class pictures and some without"
        raise UserError(got, expected="at least one task, and one layout of the batch", fix="train the two kinds one after the other")
    wanted = {*keep, config.steps}
    if any(not 0 <= step <= config.steps for step in wanted):
        raise UserError(f"steps to keep {sorted(wanted)}", expected=f"steps from 0 to {config.steps}")
    stack = Stack([first_adapter(base, settings, task) for task in tasks], device=base.unet.device)
    lrs = torch.tensor([config.lr if task.lr is None else task.lr for task in tasks], dtype=torch.float64)
    optimiser = RowAdamW(stack.theta, lrs, config)
    kept = {0: stack.theta.cpu().clone()} if 0 in wanted else {}
    seen = []
    with stacked(base, stack, settings):
        tokens = tokens_of(base, tasks)
        frozen = None
        if not settings.text_targets:
            with torch.no_grad():
                frozen = contexts_of(base, tokens)
        for step in range(config.steps):
            contexts = contexts_of(base, tokens) if frozen is None else frozen
            each = losses(base, draw(base, tasks, config, step), contexts, config)
            gradient = stack.gradient(each.sum())
            now = each.detach().cpu()
            bad = (~now.isfinite()).nonzero().flatten().tolist()
            if bad:
                raise UserError(f"the loss of adapters {bad} became no number at step {step}", fix="train them with a lower lr")
            optimiser.step(gradient)
            if step + 1 in wanted:
                kept[step + 1] = stack.theta.cpu().clone()
            seen.append(now)
            on_step(step + 1, now)
    return TrainedMany(kept, torch.stack(seen), stack)


@contextmanager
def stacked(base: Base, stack: Stack, settings: LoraSettings) -> Iterator[None]:
    """Inside, ``base`` computes with all of the stack's adapters, group by group of a batch; afterwards it is what it was."""
    layers = linears(base, settings)
    wrapped = {id(layer): (name, layer) for name, layer in layers.items()}
    places = []
    for model in (base.unet, base.text_encoder):
        for module in model.modules():
            places += [(module, key, *wrapped[id(child)]) for key, child in module.named_children() if id(child) in wrapped]
    try:
        for parent, key, name, layer in places:
            setattr(parent, key, StackedLinear(layer, *stack.leaves[name], stack.alphas[name] / settings.rank))
        yield
    finally:
        for parent, key, _, layer in places:
            setattr(parent, key, layer)
