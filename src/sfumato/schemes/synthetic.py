"""No private data at all: the base's own samples and the conditions found in them. It tells whether anything private was needed."""

from __future__ import annotations

from sfumato.schemes._wire import Job, Outcome
from sfumato.server import derive
from sfumato.server.train import train

DESCRIPTION = "the base's own samples, nothing private: what derived conditions must beat"
EXTRACTS = True  # its conditions are found in pictures, and come with none


def run(job: Job) -> Outcome:
    """Option ``count``: how many samples to train on."""
    pairs = derive.from_nothing(job.base, job.options.get("count", 800), condition=job.condition, seed=job.config.seed)
    train(pairs, job.base, job.out, job.config, on_step=job.on_step)
    job.declare("synthetic", ())
    return Outcome(controlnet=job.out)
