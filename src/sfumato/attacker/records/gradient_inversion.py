"""A batch out of the gradients that training on it gave.

Guess latents, conditions (and noise, where it is the owner's) whose gradients are those that were seen. Twice, for the two known ways:

- DLG: Zhu, Liu, Han, "Deep leakage from gradients" (NeurIPS 2019): squared distance of gradients, L-BFGS.
- Inverting Gradients: Geiping et al. (NeurIPS 2020): their cosine, total variation, Adam on the signs of the slope.

Of the two, the one whose gradients are nearer in angle is kept: an averaged or clipped update says little of their length.

Where public pictures are granted, guesses are theirs in whitened coordinates (mean, and principal components in units of their spread),
held to a standard normal: both descents start from the mean, and what gradients leave open is what pictures are mostly like.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Public, Scenario, Update
from sfumato.attacker.records._invert import Whitened, variation
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import generator

DESCRIPTION = "gradient inversion: latents whose gradients are those seen; DLG and Inverting Gradients, the better of the two"
TARGETS: tuple[Target, ...] = ("picture", "condition")
NEEDS: tuple[type, ...] = (Update,)
MAY_USE: tuple[type, ...] = (Public,)
COUNT: dict[Effort, int] = {"quick": 2, "full": 4}
ITERATIONS: dict[Effort, int] = {"quick": 300, "full": 400}
LR_SIGNED, LAMBDA_TV = 0.1, 1e-3  # the paper's 0.2 is for pixels in units of their spread and for networks of far more gradients
LAMBDA_PRIOR = 0.2  # of a whitened coordinate's mean square, beside a distance of gradients that starts near 1
INNER = 10  # evaluations of an L-BFGS iteration
Unknowns = list[torch.Tensor]
Curve = list[tuple[float, float]]


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Guess ``z_0`` and ``c`` of the batch behind the update."""
    update, iterations = scenario[Update], ITERATIONS[effort]
    problem = _Problem(update, scenario.get(Public))
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no second derivative
        dlg = _dlg(problem, problem.start(generator(seed, 1)), iterations // INNER, lambda k: tell(k * INNER, 2 * iterations))
        signed = _inverting(problem, problem.start(generator(seed, 2)), iterations, lambda k: tell(iterations + k, 2 * iterations))
        found = {"DLG": dlg, "Inverting Gradients": signed}
        angles = {name: float(problem.angle(problem.gradients(x)).detach()) for name, (x, _) in found.items()}
    tell(2 * iterations, 2 * iterations)
    finite = {name: angle for name, angle in angles.items() if angle == angle}
    kept = min(finite or angles, key=lambda name: angles[name])
    unknown, curve = found[kept]
    z_0, c = (x.detach() for x in problem.latents(unknown))
    budget = {"iterations of each": iterations, "1 - cosine": angles, "kept": kept, "noise known": update.eps is not None}
    return Guess(z_0=z_0, c=c, curve=curve, budget=budget | {"public pictures": problem.known})


class _Problem:
    """The gradients that were seen, and how far those of a guess are."""

    def __init__(self, update: Update, public: Public | None = None) -> None:
        self.update = update
        self.names = [name for name, g in update.gradients.items() if bool(g.any())]  # what got no gradient says nothing
        if not self.names:
            raise ValueError("the update is zero: no gradient to invert")
        self.seen = torch.cat([update.gradients[name].detach().flatten() for name in self.names])
        self.whitened = None if public is None else Whitened(torch.cat([public.z_0.flatten(1), public.c.flatten(1)], dim=1))
        self.known = 0 if public is None else len(public.z_0)

    def start(self, draws: torch.Generator) -> Unknowns:
        """First guesses of ``z_0`` and ``c``, standard normal or the mean of public ones, and of ``eps`` where it is not granted."""
        z_0, c, eps = (torch.randn(self.update.shape, generator=draws) for _ in range(3))
        first = [z_0, c] if self.whitened is None else [torch.zeros(len(z_0), len(self.whitened.mean))]
        return [x.requires_grad_(True) for x in (first if self.update.eps is not None else [*first, eps])]

    def latents(self, unknown: Unknowns) -> Unknowns:
        """``z_0`` and ``c`` of a guess."""
        if self.whitened is None:
            return unknown[:2]
        return [half.reshape(self.update.shape) for half in self.whitened(unknown[0]).chunk(2, dim=1)]

    def prior(self, unknown: Unknowns) -> torch.Tensor:
        """How unlike public pictures a guess is; nothing where there are none."""
        return torch.zeros(()) if self.whitened is None else LAMBDA_PRIOR * unknown[0].square().mean()

    def gradients(self, unknown: Unknowns) -> torch.Tensor:
        """All gradients of a guess in one row, differentiable."""
        z_0, c = self.latents(unknown)
        eps = self.update.eps if self.update.eps is not None else unknown[-1]
        got = self.update.grad_of(z_0, c, self.update.t, eps)
        return torch.cat([got[name].flatten() for name in self.names])

    def angle(self, got: torch.Tensor) -> torch.Tensor:
        """1 - cosine."""
        return 1 - torch.nn.functional.cosine_similarity(got, self.seen, dim=0)

    def distance(self, got: torch.Tensor) -> torch.Tensor:
        """The squared distance, as a share of what was seen."""
        return (got - self.seen).square().sum() / self.seen.square().sum()


def _dlg(problem: _Problem, unknown: Unknowns, iterations: int, done: Callable[[int], None]) -> tuple[Unknowns, Curve]:
    """Squared distance by L-BFGS, back to the best so far where a line search runs away."""
    optimiser = torch.optim.LBFGS(unknown, lr=1.0, max_iter=INNER, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        loss = problem.distance(problem.gradients(unknown)) + problem.prior(unknown)
        for x, g in zip(unknown, torch.autograd.grad(loss, unknown), strict=True):
            x.grad = g.contiguous()  # L-BFGS wants rows
        return loss.detach()

    best, lowest, curve = [x.detach().clone() for x in unknown], float("inf"), []
    for k in range(iterations):
        optimiser.step(closure)
        value = float((problem.distance(problem.gradients(unknown)) + problem.prior(unknown)).detach())
        if not value < float("inf"):
            break
        if value < lowest:
            best, lowest = [x.detach().clone() for x in unknown], value
        curve.append(((k + 1.0) * INNER, value))
        done(k + 1)
    return best, curve


def _inverting(problem: _Problem, unknown: Unknowns, iterations: int, done: Callable[[int], None]) -> tuple[Unknowns, Curve]:
    """Cosine and total variation by Adam on signs; the rate falls tenfold at 3/8, 5/8 and 7/8 of the way."""
    optimiser = torch.optim.Adam(unknown, lr=LR_SIGNED)
    rates = torch.optim.lr_scheduler.MultiStepLR(optimiser, [iterations * i // 8 for i in (3, 5, 7)], gamma=0.1)
    curve = []
    for k in range(iterations):
        angle = problem.angle(problem.gradients(unknown))
        loss = angle + LAMBDA_TV * sum(variation(x).sum() / x.numel() for x in problem.latents(unknown)) + problem.prior(unknown)
        for x, g in zip(unknown, torch.autograd.grad(loss, unknown), strict=True):
            x.grad = g.sign()
        optimiser.step()
        rates.step()
        if k % max(1, iterations // 20) == 0 or k + 1 == iterations:
            curve.append((k + 1.0, float(angle.detach())))
        done(k + 1)
    return unknown, curve
