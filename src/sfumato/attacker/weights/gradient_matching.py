"""Pictures whose gradients would have made this adapter: DLG on updates (Zhu et al., NeurIPS 2019), the baseline of paper 2.

Training starts from ``B_0 = 0`` and some ``A_0``. There ``dL/dA = 0`` and ``dL/dB = scale (dL/dW) A^T``, so that at first B alone moves:

    B  ~  -scale sum_k lr_k (dL/dW)_k A_0^T

``A_0`` was never shared; the published A, which lies near, stands in for it. A few steps are simulated on guessed latents under a guessed
context, with fresh noise at random t for every guess, and both are moved until B points where the published B does, in each layer of the
UNet: AdamW spoils lengths, directions less. After hundreds of steps little of this holds; that is the baseline's weakness, not this code's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from sfumato.adapters.conventions import UNET
from sfumato.adapters.lora import Adapter, attached, factors_of
from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._sampling import PICTURES, apart
from sfumato.attacker.weights.base import Guess, Published, Recipe, Target
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t, eps_from
from sfumato.diffusion.schedule import CLEAN

DESCRIPTION = "DLG on updates: latents and a context whose simulated fine-tuning turns B where the published B points"
TARGETS: tuple[Target, ...] = ("picture", "person")
NEEDS: tuple[type, ...] = (Published, Recipe, Base)
ITERATIONS: dict[Effort, int] = {"quick": 100, "full": 1000}
VICTIMS: dict[Effort, int] = {"quick": 32}  # of a study at most: a descent through training is dear
UNROLLED: dict[Effort, int] = {"quick": 1, "full": 2}  # simulated steps
LR_LATENT, LR_CONTEXT, LAMBDA_TV = 0.1, 0.01, 1e-3
Draw = tuple[torch.Tensor, torch.Tensor]


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Guess the pictures. The context starts as the recipe's prompt."""
    base, recipe, iterations = apart(scenario[Base]), scenario[Recipe], ITERATIONS[effort]
    adapter = unet_part(scenario[Published].adapter)
    wanted = {name: b.to(base.unet.device) for name, (_, b) in adapter.factors.items()}
    start = replace(adapter, factors={name: (a, torch.zeros_like(b)) for name, (a, b) in adapter.factors.items()})
    z_0 = torch.randn((PICTURES[effort], *base.latent_shape), generator=generator(seed)).to(base.unet.device).requires_grad_()
    context = base.embed([recipe.prompt]).to(base.unet.device).requires_grad_()
    optimiser = torch.optim.Adam([{"params": [z_0], "lr": LR_LATENT}, {"params": [context], "lr": LR_CONTEXT}])
    curve = []
    with attached(base, start, trainable=True) as layers, sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        simulation = Simulation(base, layers, rows=recipe.config.batch)
        for k in range(iterations):
            for group, lr in zip(optimiser.param_groups, (LR_LATENT, LR_CONTEXT), strict=True):
                group["lr"] = lr * min(1.0, 4 * (1 - k / iterations))
            draws = [simulation.draw(generator(seed, k, step)) for step in range(UNROLLED[effort])]
            missed = misfit(simulation.trained(z_0, context, draws, length=_length(wanted)), wanted)
            loss = missed + LAMBDA_TV * (z_0.diff(dim=2).square().mean() + z_0.diff(dim=3).square().mean())
            z_0.grad, context.grad = torch.autograd.grad(loss, [z_0, context])
            optimiser.step()
            if k % max(1, iterations // 20) == 0 or k + 1 == iterations:
                curve.append((k + 1.0, float(missed.detach())))
            tell(k + 1, iterations)
    budget = {"iterations": iterations, "simulated steps": UNROLLED[effort], "layers": len(wanted), "1 - cosine": curve[-1][1]}
    return Guess(images=base.decode_pixels(z_0.detach().cpu()), curve=curve, budget=budget)


def unet_part(adapter: Adapter) -> Adapter:
    """The UNet's layers alone: a guessed context says nothing of the text encoder's. B must be more than zero.

    Raises:
        UserError: no such layer.
    """
    factors = {name: (a, b) for name, (a, b) in adapter.factors.items() if name.startswith(UNET) and bool(b.any())}
    if not factors:
        raise UserError("no layer of the UNet that was trained", expected="an adapter of the UNet's layers with B other than zero")
    return Adapter(factors=factors, alphas={name: adapter.alphas[name] for name in factors})


class Simulation:
    """A few steps of fine-tuning of B on guessed latents, differentiable.

    Args:
        base: carrying the adapter with B zero.
        layers: as ``attached`` yields them.
        rows: of a step's batch; latents are taken in turn.
    """

    def __init__(self, base: Base, layers: dict[str, object], *, rows: int) -> None:
        self.base, self.rows = base, rows
        known = {id(parameter): path for path, parameter in base.unet.named_parameters()}
        self.start = {name: b for name, (_, b) in factors_of(layers).items()}
        self.paths = {name: known[id(b)] for name, b in self.start.items()}

    def draw(self, draws: torch.Generator) -> Draw:
        """Steps ``(rows,)`` and noise ``(rows, 4, h, w)`` of a batch."""
        t = draw_t(torch.full((self.rows,), CLEAN), self.base.schedule.steps, generator=draws)
        return t, torch.randn((self.rows, *self.base.latent_shape), generator=draws)

    def loss(self, b: dict[str, torch.Tensor], z_0: torch.Tensor, context: torch.Tensor, drawn: Draw) -> torch.Tensor:
        """The training loss with ``b`` as the adapter's B."""
        schedule, (t, eps) = self.base.schedule, (x.to(z_0.device) for x in drawn)
        z_t = schedule.add_noise(z_0[torch.arange(self.rows) % len(z_0)], t, eps)
        weights = {self.paths[name]: value for name, value in b.items()}
        read = {"encoder_hidden_states": context.expand(self.rows, -1, -1)}
        output = functional_call(self.base.unet, weights, (z_t, t), read).sample
        return (eps_from(output, z_t, t, schedule, self.base.prediction_type) - eps).square().mean()

    def trained(self, z_0: torch.Tensor, context: torch.Tensor, draws: list[Draw], *, length: float) -> dict[str, torch.Tensor]:
        """B by layer after as many steps as ``draws``, each down the gradient and all of them ``length`` long together."""
        b: dict[str, torch.Tensor] = dict(self.start)
        for drawn in draws:
            gradient = torch.autograd.grad(self.loss(b, z_0, context, drawn), list(b.values()), create_graph=True)
            step = length / len(draws) / max(_length(dict(zip(b, gradient, strict=True))), 1e-12)
            b = {name: value - step * g for (name, value), g in zip(b.items(), gradient, strict=True)}
        return b


def misfit(made: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> torch.Tensor:
    """``1 - cosine`` of two sets of B, on average over layers: from 0 to 2."""
    cosines = [torch.nn.functional.cosine_similarity(made[name].flatten(), b.flatten(), dim=0) for name, b in wanted.items()]
    return 1 - torch.stack(cosines).mean()


def _length(b: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([x.detach().norm() for x in b.values()]).norm())
