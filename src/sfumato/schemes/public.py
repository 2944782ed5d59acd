"""The floor: the same training on public pairs only. No owner takes part; it tells whether private pictures add anything."""

from __future__ import annotations

import numpy as np

from sfumato.core.errors import UserError
from sfumato.features.variation import kinds_of, vary
from sfumato.schemes import centralised
from sfumato.schemes._wire import Job, Outcome
from sfumato.server.train import train

DESCRIPTION = "public pictures in the clear, nothing private: the floor"
EXTRACTS = True  # its conditions are found in pictures, and come with none


def run(job: Job) -> Outcome:
    """Options: ``images`` uint8 ``(N, H, W, 3)`` and ``captions``, of public pictures; ``captioned`` 0 for the
    empty prompt, as records have it; ``vary``, kinds of ``features.variation`` joined by ``+``, or ``all``."""
    images, captions = job.options.get("images"), job.options.get("captions")
    if not isinstance(images, np.ndarray) or captions is None or len(images) != len(captions):
        raise UserError("public without public pictures", expected="options images and captions, as many of each")
    if kinds := job.options.get("vary"):
        images = vary(images, kinds_of(kinds), seed=job.config.seed)
    records, words = centralised.from_pictures(images, captions, job.base, condition=job.condition)
    train(
        records, job.base, job.out, job.config, captions=words if job.options.get("captioned", 1) else None, on_step=job.on_step
    )  # fmt: skip
    job.declare("public", ())
    return Outcome(controlnet=job.out)
