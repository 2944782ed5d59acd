"""Validation pictures while a ControlNet trains: some of the records' own conditions, as the server holds them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sfumato.core.artifact import write_atomic
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample
from sfumato.records.reader import Records


def saver(records: Records, base: Base, work: Path, *, seed: int, count: int = 6) -> Callable[[Any, int], None]:
    """A callback that writes ``work/validation/STEP.png``: decoded ``c_m`` above, what it makes below, under the empty prompt."""
    level = records.level_conditions(base.schedule, seed=seed)
    conditions = level.c_m[torch.linspace(0, len(level) - 1, min(count, len(level))).long()]  # of every owner, as they are trained on

    def save(controlnet: Any, step: int) -> None:
        z_0 = sample(base, [""] * len(conditions), generator=generator(seed, 4), controlnet=controlnet, condition=conditions, guidance=1.0)
        rows = [np.concatenate(list(base.decode_pixels(z)), axis=1) for z in (conditions, z_0)]
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(buffer, "PNG")
        write_atomic(work / "validation" / f"{step:06d}.png", buffer.getvalue(), private=True)

    return save
