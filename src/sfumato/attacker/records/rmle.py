"""Regularised maximum likelihood: the smooth picture that would have left what was seen.

He, Zhang, Lee, "Model inversion attacks against collaborative inference" (ACSAC 2019), white box: the owner's half is known, so descend on
pixels until they explain the record, ``min_x ||f(x) - record||² + lambda_TV TV(x) + lambda_2 ||x||²``. Here f is the frozen VAE encoder and
what is done to its latents.

Scaling: sums, as in the paper, but the residual in units of the noise that the record is known to bear: the weights of the other terms are
then statements about pictures and need no tuning from one noise level to the next. The paper's ``lambda_TV`` = 10 belongs to raw residuals;
here 2 was the best compromise on public pictures, clear and sealed. Both terms are of what sets a picture apart from the mean public one
(grey, where nothing is public), at which the descent begins. Steps are ten times the paper's, and few: the objective is flat after 150.
The encoder computes in half precision where that is fast, with an error far below ``FLOOR``.
"""

from __future__ import annotations

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Activations, Entrance, Latents, Public, Scenario
from sfumato.attacker.records._evidence import TRACES
from sfumato.attacker.records._invert import centres, descend, encoder, of_condition, of_picture
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.device import choose_precision
from sfumato.diffusion.base import Base, to_pixels

DESCRIPTION = "regularised maximum likelihood: descend on pixels through the known encoder (He et al. 2019)"
TARGETS: tuple[Target, ...] = ("picture", "condition")
NEEDS: tuple[type, ...] = (Latents, Base)
MAY_USE: tuple[type, ...] = (*TRACES, Activations, Entrance, Public)
COUNT: dict[Effort, int] = {"quick": 32, "full": 64}
ITERATIONS: dict[Effort, int] = {"quick": 150, "full": 400}
LR, LAMBDA_TV, LAMBDA_2 = 0.1, 2.0, 0.1


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Guess pictures, and conditions where anything leaked of them. Nothing is drawn: ``seed`` changes nothing."""
    base = scenario[Base]
    encode, iterations = encoder(base, choose_precision(base.unet.device)), ITERATIONS[effort]
    of_c = of_condition(scenario, encode)
    total = iterations * (1 if of_c is None else 2)
    picture, condition = centres(scenario, base)
    x, curve = descend(
        of_picture(scenario, encode),
        picture,
        iterations=iterations,
        lr=LR,
        tv=LAMBDA_TV,
        l2=LAMBDA_2,
        tell=lambda k, _: tell(k, total),
    )
    guess = Guess(images=to_pixels(x), curve=curve, budget={"iterations": iterations, "lr": LR, "lambda_TV": LAMBDA_TV})
    if of_c is not None:
        x, guess.budget["condition curve"] = descend(
            of_c, condition, iterations=iterations, lr=LR, tv=LAMBDA_TV, l2=LAMBDA_2, tell=lambda k, _: tell(iterations + k, total)
        )
        guess.c = base.encode(x)
    return guess
