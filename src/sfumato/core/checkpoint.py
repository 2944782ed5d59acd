"""Where a run that was killed goes on: its tensors, its optimiser's memory and which run it was, in one file that is whole or absent."""

from __future__ import annotations

from pathlib import Path

import torch

from sfumato.core.artifact import from_bytes, metadata_of, to_bytes, write_atomic
from sfumato.core.errors import UserError
from sfumato.core.header import header_bytes, read_header
from sfumato.core.outside import open_bytes

LIMIT = 2**40  # bytes: no checkpoint is too large to be asked whose it is

Tensors = dict[str, torch.Tensor]


def save(
    path: Path, run: str, step: int, tensors: Tensors, optimiser: torch.optim.Optimizer, *, notes: dict[str, str] | None = None,
    private: bool = False,
) -> None:  # fmt: skip
    """Write a checkpoint after ``step`` steps of ``run``; ``private`` files are readable by their owner alone."""
    whole = {**tensors, **memory(optimiser), "step": torch.tensor(step)}
    write_atomic(path, to_bytes(whole, {**(notes or {}), "run": run}), private=private)


def load(path: Path, run: str, *, overwrite: bool = False) -> Tensors | None:
    """What ``save`` wrote, or None where there is nothing to go on from. Sweeps up what a run left that was killed while it wrote.

    Args:
        path: its file.
        run: what it must be of.
        overwrite: whether one of another run, or a damaged one, is passed over: it is replaced by the next that is written.

    Raises:
        UserError: it is of another run, or damaged.
    """
    if overwrite and run_of(path) != run:
        return None
    for stray in path.parent.glob(f".{path.name}.*.partial"):
        stray.unlink(missing_ok=True)
    if not path.exists():
        return None
    tensors, notes = read(path)
    if notes.get("run") != run:
        raise UserError(
            f"{path}: a checkpoint of another run", fix="use the same settings and data to go on, or another --out, or --overwrite"
        )
    return tensors


def run_of(path: Path) -> str | None:
    """Which run's the checkpoint at ``path`` is, by its header alone; None where there is none, or a damaged one."""
    try:
        with open_bytes(path, what="checkpoint", limit=LIMIT) as (file, size):
            start = file.read(9)
            start += file.read(max(0, header_bytes(start) - len(start)))
            return read_header(start, size=size).notes.get("run")
    except UserError:
        return None


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors and notes of the checkpoint at ``path``, whichever run's it is.

    Raises:
        UserError: it is damaged.
    """
    data = path.read_bytes()
    try:
        tensors = from_bytes(data, name=str(path))
    except UserError as error:
        raise damaged(path, error.got.removeprefix(f"{path}: ")) from error
    if tensors.get("step", torch.zeros(0)).numel() != 1:
        raise damaged(path, "it does not say after which step")
    return tensors, metadata_of(data)


def damaged(path: Path, why: str) -> UserError:
    """What to say of a checkpoint that cannot be gone on from."""
    return UserError(f"{path}: the checkpoint is damaged ({why})", fix=f"remove it to start over: {path}")


def memory(optimiser: torch.optim.Optimizer) -> Tensors:
    """What an optimiser remembers, as ``optimiser.INDEX.NAME``."""
    return {f"optimiser.{i}.{name}": value for i, slots in optimiser.state_dict()["state"].items() for name, value in slots.items()}


def remember(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Give an optimiser its ``memory`` back, laid out as its parameters are; other tensors are not looked at."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, Tensors] = {}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        if part == "optimiser":
            index, _, name = rest.partition(".")
            like = parameters[int(index)]
            last = value.ndim == 4 and like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
            state.setdefault(int(index), {})[name] = value.contiguous(
                memory_format=torch.channels_last if last else torch.contiguous_format
            )
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
