"""No private data at all: the base's own samples and the conditions found in them. It tells whether anything private was needed."""

from __future__ import annotations

from sfumato.schemes._wire import Job, Outcome
from sfumato.server import derive
from sfumato.server.train import train

DESCRIPTION = "the base's own samples, nothing private: what derived conditions must beat"
EXTRACTS = True  # its conditions are found in pictures, and come with none


def run(job: Job) -> Outcome:
    """Options: ``count``, how many samples to train on; ``prompts``, public ones to draw them under in turn; ``vary`` as for ``public``."""
    count, prompts = job.options.get("count", 800), tuple(job.options.get("prompts", ()))
    pairs = derive.from_nothing(job.base, count, condition=job.condition, seed=job.config.seed, prompts=prompts)
    pairs = derive.varied(pairs, job.base, job.options.get("vary"), seed=job.config.seed)
    train(pairs, job.base, job.out, job.config, on_step=job.on_step)
    job.declare("synthetic", ())
    return Outcome(controlnet=job.out)
