"""What each scheme sends and holds, computed from true tensor shapes and not run: the table for
bases that are too large to train here.

The same formulae, with the tiny base's shapes, are checked against bytes that were counted on the
wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfumato.diffusion.shapes import Shapes

HALF, SINGLE, INDEX = 2, 4, 4
MOMENTS = 4  # weights, gradient and Adam's two moments


@dataclass(frozen=True)
class Formula:
    """One scheme's cost: bytes of one picture in one epoch (``once``: however many epochs), and
    values that an owner must hold.

    ``up``, ``down`` and ``holds`` are functions of the shapes; ``said`` is the same for people.
    """

    up: Callable[[Shapes], float]
    down: Callable[[Shapes], float]
    holds: Callable[[Shapes], float]
    once: bool
    online: bool
    said: str


def _parts(shapes: Shapes, *names: str) -> int:
    return sum(shapes.parameters[name] for name in names)


FORMULAE: dict[str, Formula] = {
    "centralised": Formula(
        up=lambda s: 3 * s.pixels**2,
        down=lambda s: 0,
        holds=lambda s: 0,
        once=True,
        online=False,
        said="up: 3 H W bytes at most (files are compressed), once; holds nothing",
    ),
    "split": Formula(
        up=lambda s: SINGLE * (s.activation + 2 * s.latent + s.context) + 2 * INDEX,
        down=lambda s: SINGLE * s.activation,
        holds=lambda s: SINGLE * (_parts(s, "vae_encoder", "text_encoder") + (MOMENTS + 1) * _parts(s, "entrance")),
        once=False,
        online=True,
        said="up: 4 (C h w + 2 * 4 h w + L D) + 8; down: 4 C h w; holds VAE encoder, text encoder, entrance * 5 (gradient, moments, "
        "average); the entrance itself goes from owner to owner on top",
    ),
    "oneway": Formula(
        up=lambda s: (HALF + 2 * SINGLE) * s.latent + INDEX,
        down=lambda s: 0,
        holds=lambda s: SINGLE * _parts(s, "vae_encoder"),
        once=False,
        online=True,
        said="up: (2 + 4 + 4) 4 h w + 4 (h in half, z_t and eps in single precision, t); holds the VAE encoder",
    ),
    "oneway, as published": Formula(
        up=lambda s: HALF * s.latent + SINGLE * (s.activation + s.latent + s.context) + 2 * INDEX,
        down=lambda s: 0,
        holds=lambda s: SINGLE * _parts(s, "vae_encoder", "conv_in"),
        once=False,
        online=True,
        said="up: 2 * 4 h w + 4 (C h w + 4 h w + L D) + 8: conv_in(z_t) instead of z_t, and a text embedding of zeros",
    ),
    "sealed": Formula(
        up=lambda s: 2 * HALF * s.latent,
        down=lambda s: 0,
        holds=lambda s: SINGLE * _parts(s, "vae_encoder"),
        once=True,
        online=False,
        said="up: 2 * 2 * 4 h w, once (z_n and c_m in half precision); holds the VAE encoder",
    ),
    "sealed, derived": Formula(
        up=lambda s: HALF * s.latent,
        down=lambda s: 0,
        holds=lambda s: SINGLE * _parts(s, "vae_encoder"),
        once=True,
        online=False,
        said="up: 2 * 4 h w, once (z_n alone: no condition leaves); holds the VAE encoder",
    ),
}


def fedavg(shapes: Shapes, *, pictures: int, rounds_per_epoch: float = 1.0) -> Formula:
    """Federated averaging sends weights, not pictures: its bytes are spread over an owner's
    ``pictures``."""
    weights = SINGLE * shapes.parameters["controlnet"] * rounds_per_epoch / pictures
    return Formula(
        up=lambda s: weights,
        down=lambda s: weights,
        holds=lambda s: SINGLE * (_parts(s, "vae", "text_encoder", "unet") + MOMENTS * _parts(s, "controlnet")),
        once=False,
        online=True,
        said=f"up and down: 4 |ControlNet| in every round, over {pictures} pictures; holds the whole base and ControlNet * 4",
    )


def table(shapes: Shapes, *, pictures: int = 1000, epochs: tuple[int, ...] = (1, 10, 100)) -> dict[str, dict[str, Any]]:
    """Per scheme: bytes of a picture per epoch and after ``epochs``, and bytes of weights and
    optimiser that an owner holds.

    Args:
        shapes: of the base.
        pictures: of one owner; only ``fedavg`` depends on it.
        epochs: after how many the sums are given.
    """
    rows = {}
    for name, formula in {**FORMULAE, "fedavg": fedavg(shapes, pictures=pictures)}.items():
        up, down = formula.up(shapes), formula.down(shapes)
        rows[name] = {
            "bytes_up_per_picture_and_epoch": up,
            "bytes_down_per_picture_and_epoch": down,
            "total_after_epochs": {str(e): (up + down) * (1 if formula.once else e) for e in epochs},
            "owner_holds_bytes": formula.holds(shapes),
            "once": formula.once,
            "online": formula.online,
            "formula": formula.said,
        }
    return rows
