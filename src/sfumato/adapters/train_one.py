"""Fine-tune one adapter with PEFT: the ordinary way, and the reference for many at once.

Draws are functions of (seed, step), so that a run that was killed ends in the same weights as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sfumato.adapters.dreambooth import FinetuneConfig, Task, contexts_of, draw, losses, tokens_of
from sfumato.adapters.lora import Adapter, LoraSettings, attached, collect, factors_of, initial, linears
from sfumato.core import checkpoint as checkpoints
from sfumato.core import training
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base

FIRST_WEIGHTS = 2**31  # in place of a step's number, for the draw of A


@dataclass(frozen=True, slots=True)
class Trained:
    """What comes of it: the adapter, those kept on the way by step, and every step's loss since the start or the last resume."""

    adapter: Adapter
    kept: dict[int, Adapter]
    losses: list[float]


def train_one(
    base: Base,
    task: Task,
    settings: LoraSettings,
    config: FinetuneConfig,
    *,
    keep: Iterable[int] = (),
    checkpoint: Path | None = None,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    validate: Callable[[int], None] | None = None,
) -> Trained:
    """Fine-tune ``settings``' adapter on ``task``.

    Args:
        base: frozen; carries the adapter while this runs, and nothing afterwards.
        task, settings, config: on what, where, how.
        keep: steps whose adapters are wanted, too; 0 for the first weights.
        checkpoint: a file to go on from; private, for it holds the seed's first weights and the optimiser's memory. Whoever asked for it
            removes it once the adapter is written.
        overwrite: pass over a checkpoint of another run; it is lost with the next that is written.
        on_step: told about every step.
        validate: called with the step, while the base carries the adapter, every ``config.validate_every`` steps.

    Raises:
        UserError: a checkpoint of another run, or a loss that is not finite.
        KeyboardInterrupt: on Ctrl-C; the step is finished first, and its checkpoint written where ``config`` wants any.
    """
    wanted = _wanted(keep, config)
    layers = linears(base, settings)
    start = first_adapter(base, settings, task)
    run = run_of(base, task, settings, config, keep=wanted)
    kept: dict[int, Adapter] = {0: start} if 0 in wanted else {}
    seen: list[float] = []
    with attached(base, start, trainable=True) as wrapped:
        pairs = factors_of(wrapped)
        parameters = [part for name in layers for part in pairs[name]]
        optimiser = torch.optim.AdamW(parameters, lr=config.lr if task.lr is None else task.lr, weight_decay=config.weight_decay)
        first = _resume(checkpoint, run, parameters, optimiser, kept, start, overwrite=overwrite) if checkpoint else 0
        tokens = tokens_of(base, [task])
        frozen = None
        if not settings.text_targets:
            with torch.no_grad():
                frozen = contexts_of(base, tokens)

        def loss(step: int, part: int) -> torch.Tensor:
            contexts = contexts_of(base, tokens) if frozen is None else frozen
            return losses(base, draw(base, [task], config, step), contexts, config).sum()

        def after(done: int, value: float) -> None:
            seen.append(value)
            if done in wanted:
                kept[done] = collect(wrapped, start.alphas)

        def save(done: int) -> None:
            if checkpoint:
                _save(checkpoint, run, task.seed, done, parameters, optimiser, kept)

        def tell(progress: Progress) -> None:
            if validate is not None and config.validate_every and progress.step % config.validate_every == 0:
                base.__dict__.pop("empty_context", None)  # the text encoder has moved on
                validate(progress.step)
            on_step(progress)

        training.fit(
            optimiser, loss, first=first, steps=config.steps, clip=config.clip, after=after, save=save,
            every=config.checkpoint_every, tell=tell, fix="start again with a lower --lr",
        )  # fmt: skip
        made = collect(wrapped, start.alphas)
    return Trained(made, kept, seen)


def first_adapter(base: Base, settings: LoraSettings, task: Task) -> Adapter:
    """The adapter that training on ``task`` starts from."""
    return initial(linears(base, settings), settings, generator=generator(task.seed, FIRST_WEIGHTS))


def run_of(base: Base, task: Task, settings: LoraSettings, config: FinetuneConfig, *, keep: Iterable[int]) -> str:
    """What must be the same for a run to go on, or for its results to be those wanted: SHA-256 over all that decides them."""
    said = [base.unet_fingerprint, base.fingerprint, task.identity(), asdict(settings), config.identity(), sorted(keep)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def seed_of(checkpoint: Path) -> int | None:
    """The seed of the run that left ``checkpoint``, for a run that was given none; None where there is no such file."""
    if not checkpoint.exists():
        return None
    said = checkpoints.read(checkpoint)[1].get("seed", "")
    if not said.isdecimal():
        raise UserError(f"{checkpoint}: no checkpoint of a fine-tuning", fix="remove it, or choose another --out")
    return int(said)


def _wanted(keep: Iterable[int], config: FinetuneConfig) -> frozenset[int]:
    wanted = frozenset(keep)
    if any(not 0 <= step <= config.steps for step in wanted):
        raise UserError(f"steps to keep {sorted(wanted)}", expected=f"steps from 0 to {config.steps}")
    return wanted


def _save(path: Path, run: str, seed: int, step: int, parameters: list[Any], optimiser: Any, kept: dict[int, Adapter]) -> None:
    state = {f"parameter.{i}": p.detach() for i, p in enumerate(parameters)}
    for at, adapter in kept.items():
        for name, (a, b) in adapter.factors.items():
            state |= {f"kept.{at}.A.{name}": a, f"kept.{at}.B.{name}": b}
    checkpoints.save(path, run, step, state, optimiser, notes={"seed": str(seed)}, private=True)


def _resume(
    path: Path, run: str, parameters: list[Any], optimiser: Any, kept: dict[int, Adapter], start: Adapter, *, overwrite: bool
) -> int:  # fmt: skip
    """Load a checkpoint into what is given; the step to go on from."""
    state = checkpoints.load(path, run, overwrite=overwrite)
    if state is None:
        return 0
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(state[f"parameter.{i}"])
    checkpoints.remember(optimiser, state)
    for at in sorted({int(key.split(".")[1]) for key in state if key.startswith("kept.")}):
        factors = {name: (state[f"kept.{at}.A.{name}"], state[f"kept.{at}.B.{name}"]) for name in start.factors}
        kept[at] = Adapter(factors=factors, alphas=start.alphas)
    return int(state["step"])
