"""Several processes that work on one thing, as ``torchrun`` starts them. One process is the case of one, and needs no group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

BUCKET = 2**25  # values that are summed at once: 128 MB of float32


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that ``torchrun`` started know of one another. A group that is there already is used and left alone."""
    if count() > 1 or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    distributed.init_process_group("nccl" if cards >= int(os.environ.get("LOCAL_WORLD_SIZE", "1")) else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _grouped() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if _grouped() else 0


def is_main() -> bool:
    """Whether this is the one that writes and speaks."""
    return rank() == 0


def share(size: int) -> slice:
    """This process's rows of ``size``: neighbours, as many as any other process's but for one."""
    return slice(size * rank() // count(), size * (rank() + 1) // count())


def add_up(tensors: list[torch.Tensor]) -> None:
    """Sum every tensor over all processes, in place; the shapes and their order must be the same everywhere."""
    if count() == 1:
        return
    bucket: list[torch.Tensor] = []
    for number, tensor in enumerate(tensors):
        bucket.append(tensor)
        if sum(part.numel() for part in bucket) >= BUCKET or number + 1 == len(tensors):
            _add_up_at_once(bucket)
            bucket = []


@torch.no_grad()
def _add_up_at_once(bucket: list[torch.Tensor]) -> None:
    flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in bucket])
    distributed.all_reduce(flat)
    for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        distributed.barrier()
