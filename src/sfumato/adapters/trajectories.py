"""The adapters that ``train_many`` made, kept on disk: one file of tensors and one of facts for each, resumed by what decides them.

A name's ``.json`` is written after its ``.safetensors``: what has none is trained again. Meant for public pictures, whose adapters an
attack is trained on: the facts say how many steps and under what seed, which nobody should be told of a private one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sfumato._version import __version__
from sfumato.adapters.dreambooth import FinetuneConfig, Task
from sfumato.adapters.lora import Adapter, LoraSettings
from sfumato.adapters.train_many import TrainedMany, train_many
from sfumato.adapters.train_one import run_of
from sfumato.core.artifact import from_bytes, read_json, to_bytes, write_atomic, write_json
from sfumato.core.errors import UserError
from sfumato.core.progress import Tell
from sfumato.diffusion.base import Base

SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One adapter at several steps: by canonical name ``A`` ``(S, r, in)`` and ``B`` ``(S, out, r)``, in the order of ``steps``."""

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    alphas: dict[str, float]
    steps: tuple[int, ...]

    def adapter(self, step: int) -> Adapter:
        """The adapter after ``step`` steps."""
        at = self.steps.index(step)
        return Adapter(factors={name: (a[at], b[at]) for name, (a, b) in self.factors.items()}, alphas=dict(self.alphas))

    def since(self, share: float) -> Trajectory:
        """The same from ``share`` of the last step on."""
        at = [i for i, step in enumerate(self.steps) if step >= share * max(self.steps)]
        factors = {name: (a[at], b[at]) for name, (a, b) in self.factors.items()}
        return Trajectory(factors, dict(self.alphas), tuple(self.steps[i] for i in at))


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of trajectories by name."""

    folder: Path

    def has(self, name: str, run: str) -> bool:
        """Whether ``name`` is there, whole, and came of ``run``."""
        facts = self.folder / f"{_checked(name)}.json"
        return facts.exists() and read_json(facts, what="facts of an adapter").get("run") == run

    def put(self, name: str, trained: TrainedMany, k: int, *, run: str, facts: dict[str, Any], dtype: torch.dtype) -> None:
        """Keep adapter ``k`` of ``trained`` as ``name``."""
        tensors: dict[str, torch.Tensor] = {}
        for layer, (a, b) in trained.trajectory(k).items():
            tensors |= {f"{layer}.lora_A": a.to(dtype), f"{layer}.lora_B": b.to(dtype)}
        (self.folder / f"{_checked(name)}.json").unlink(missing_ok=True)  # which would vouch for what is about to be written
        write_atomic(self.folder / f"{name}.safetensors", to_bytes(tensors))
        said = {"schema": SCHEMA, "version": __version__, "guarantee": "none", "run": run, "alphas": trained.stack.alphas}
        final = trained.losses[-20:, k].mean().item()
        write_json(self.folder / f"{name}.json", {**facts, **said, "steps": sorted(trained.kept), "loss": final})

    def get(self, name: str) -> Trajectory:
        """Read ``name`` back, in float32."""
        said = read_json(self.folder / f"{_checked(name)}.json", what="facts of an adapter")
        if not isinstance(said, dict) or said.get("schema") != SCHEMA:
            raise UserError(f"{self.folder / name}.json: not schema {SCHEMA}", expected="what this release wrote", fix="train it again")
        path = self.folder / f"{name}.safetensors"
        try:
            tensors = from_bytes(path.read_bytes(), name=str(path))
            factors = {layer: (tensors[f"{layer}.lora_A"].float(), tensors[f"{layer}.lora_B"].float()) for layer in said["alphas"]}
        except (OSError, KeyError) as error:
            raise UserError(f"{path}: cannot be read or lacks a layer ({error})", fix="remove its .json and train it again") from error
        return Trajectory(factors, said["alphas"], tuple(said["steps"]))

    def names(self) -> list[str]:
        """Everyone in it."""
        return sorted(path.stem for path in self.folder.glob("*.json"))


def train_all(
    base: Base,
    tasks: Mapping[str, Task | Callable[[], Task]],
    settings: LoraSettings,
    config: FinetuneConfig,
    store: Store,
    *,
    keep: Iterable[int],
    together: int = 16,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
    world: int = 1,
    on_step: Tell = lambda done, total: None,
) -> list[str]:
    """Train every task whose adapter ``store`` has not yet, ``together`` at a time; run again after a kill to go on.

    Args:
        base, settings, config: as for ``train_many``.
        tasks: by name; a function makes its task when it is its turn.
        store: where they go.
        keep: steps that are kept beside the last.
        together: K.
        dtype: of the stored tensors.
        rank, world: of several processes, this one; each takes every ``world``-th name.
        on_step: told adapters times steps done, and their total, of this call.

    Returns:
        the names that were trained now.
    """
    if together < 1 or not 0 <= rank < world:
        raise UserError(f"together {together}, rank {rank} of {world}", expected="together at least 1, and a rank below their number")
    wanted = sorted({*keep, config.steps})
    mine = list(tasks.items())[rank::world]
    made = {name: task if isinstance(task, Task) else task() for name, task in mine}
    runs = {name: run_of(base, task, settings, config, keep=wanted) for name, task in made.items()}
    missing = [name for name in made if not store.has(name, runs[name])]
    for start in range(0, len(missing), together):
        names = missing[start : start + together]

        def tell(step: int, losses: torch.Tensor, start: int = start, k: int = len(names)) -> None:
            on_step(start * config.steps + k * step, len(missing) * config.steps)

        trained = train_many(base, [made[name] for name in names], settings, config, keep=wanted, on_step=tell)
        for k, name in enumerate(names):
            task = made[name]
            facts = {"settings": asdict(settings), "config": config.identity(), "base": base.unet_fingerprint, "seed": task.seed}
            store.put(name, trained, k, run=runs[name], facts=facts | {"lr": task.lr or config.lr}, dtype=dtype)
    return missing


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise UserError(f"name {name[:80]!r}", expected="letters, digits, dots, dashes: it names a file")
    return name
