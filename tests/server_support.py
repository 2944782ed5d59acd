"""What tests of the server share: random records, and a short training."""

import torch

from sfumato.records.reader import Records
from sfumato.server import derive
from sfumato.server.fit import TrainConfig

SHARED = TrainConfig(steps=4, batch=5, accumulation=2, warmup=1, held_out=3, checkpoint_every=2)  # of a run that processes share


def records(count=24, n=500, m=100):
    draws = torch.Generator().manual_seed(0)
    z, c = (torch.randn(count, 4, 8, 8, generator=draws) for _ in range(2))
    return Records(z, c, torch.full((count,), n), torch.full((count,), m), (), ())


def config(**changes):
    return TrainConfig(**{"steps": 6, "batch": 4, "checkpoint_every": 2, "held_out": 4, "warmup": 1, **changes})


def sealed():
    """Records at two steps, more than processes can share evenly."""
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(17, 4, 8, 8, generator=draws)
    return Records(z, torch.zeros_like(z), torch.tensor([600] * 9 + [300] * 8), torch.full((17,), 200), (), ())


def drawn(base, work=None):
    return derive.from_records(sealed(), base, condition="canny", seed=0, steps=2, work=work)
