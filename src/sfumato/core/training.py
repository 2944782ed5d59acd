"""The one loop by which anything is trained. What is particular to a trainer hangs on it as functions.

Losses must be functions of the step (``randomness.generator(seed, step)``), so that a run that was killed and goes on from its
checkpoint ends in the same bits as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from sfumato.core import interrupt, processes
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress


def fit(
    optimiser: torch.optim.Optimizer,
    loss: Callable[[int, int], torch.Tensor],
    *,
    steps: int,
    first: int = 0,
    parts: int = 1,
    rate: Callable[[int], float] | None = None,
    clip: float | None = None,
    scaler: torch.amp.GradScaler | None = None,
    joint: bool = False,
    after: Callable[[int, float], bool | None] = lambda done, loss: None,
    save: Callable[[int], None] = lambda done: None,
    every: int = 0,
    tell: Callable[[Progress], None] = lambda progress: None,
    fix: str = "start again with a lower lr",
) -> None:
    """Make the steps ``first ... steps - 1`` with ``optimiser``, on the parameters that it was given.

    Args:
        optimiser: whose parameters are trained, in place.
        loss: ``loss(step, part)``; its parts add up to the step's loss. It enters autocast by itself.
        steps: of the whole run, those before ``first`` included.
        first: the step to go on from.
        parts: how many losses make a step, one after the other: less memory, the same gradient.
        rate: the learning rate of a step; None leaves the optimiser's.
        clip: the gradient's largest norm.
        scaler: of gradients in fp16.
        joint: every process (``core.processes``) makes this run on its share of the loss: gradients and losses are summed.
        after: told the steps done and the last one's loss before anything is saved; True ends the run with this step.
        save: writes a checkpoint after so many steps, in the main process alone: at every multiple of ``every`` but the last step,
            and when the run is interrupted.
        every: steps between checkpoints; 0 for none.
        tell: told, in every process, when a step is over and saved.
        fix: what to do about a loss that is not finite.

    Raises:
        UserError: the loss is not finite; nothing is learnt of it.
        KeyboardInterrupt: on Ctrl-C, in any of the processes; the step is finished first, and its checkpoint written.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    scaler = torch.amp.GradScaler("cpu", enabled=False) if scaler is None else scaler
    optimiser.zero_grad(set_to_none=True)
    with interrupt.deferred() as asked:
        for step in range(first, steps):
            if rate is not None:
                for group in optimiser.param_groups:
                    group["lr"] = rate(step)
            value = 0.0
            for part in range(parts):
                share = loss(step, part)
                scaler.scale(share).backward()
                value += float(share.detach())
            stopped = asked()
            if joint:
                value, stopped = _summed(parameters, value, stopped)
            if not math.isfinite(value):
                raise UserError(f"the loss became {value} at step {step}", fix=fix)
            scaler.unscale_(optimiser)
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            done = step + 1
            enough = after(done, value)
            if every and processes.is_main() and (stopped or (done % every == 0 and done < steps)):
                save(done)
            if stopped:
                raise KeyboardInterrupt
            tell(Progress(done, steps, value))
            if enough:
                return


def warmed(step: int, steps: int, *, warmup: float) -> float:
    """Share of the learning rate at a step: a rise over the first ``warmup`` steps, under a cosine that falls to zero."""
    return min(1.0, (step + 1) / max(1.0, warmup)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _summed(parameters: list[torch.Tensor], loss: float, stop: bool) -> tuple[float, bool]:
    """Sum gradients over all processes, and the loss, which is returned with whether any of them is to stop: all then stop at this step.
    A parameter that has no gradient has none anywhere."""
    if processes.count() == 1:
        return loss, stop
    value = torch.tensor([loss, float(stop)], device=parameters[0].device)
    processes.add_up([value, *(p.grad for p in parameters if p.grad is not None)])
    return float(value[0]), bool(value[1] > 0)
