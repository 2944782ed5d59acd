"""Mix the records of several owners: a seeded global permutation, one pass of all records after another.

The order is a function of (seed, step) alone, so a run resumes at any step without saved state.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sfumato.core.errors import RecordError, UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.schedule import CLEAN, Schedule
from sfumato.records import manifest as manifests
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest


@dataclass(frozen=True)
class Records:
    """Records of all owners: ``z_n`` and ``c_m`` of shape ``(N, 4, h, w)``; ``n``, ``m`` int64 ``(N,)``, -1 for clean."""

    z_n: torch.Tensor
    c_m: torch.Tensor
    n: torch.Tensor
    m: torch.Tensor
    manifests: tuple[Manifest, ...]
    refused: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.z_n)

    def level_conditions(self, schedule: Schedule, *, seed: int) -> Records:
        """Re-noise every condition to the largest m among the owners, once, with the server's own noise."""
        top = self.m.max()
        a = schedule.alpha(int(top)) / schedule.alpha(self.m)
        s = (1 - a**2).clamp(min=0).sqrt()
        noise = torch.randn(self.c_m.shape, generator=generator(seed, 7919))
        c = a.view(-1, 1, 1, 1).float() * self.c_m + s.view(-1, 1, 1, 1).float() * noise
        return Records(self.z_n, c, self.n, torch.full_like(self.m, int(top)), self.manifests, self.refused)

    def split(self, held_out: int) -> tuple[Records, Records]:
        """The last ``held_out`` records aside (shards are shuffled by their owners), the others to train on."""
        order = torch.randperm(len(self), generator=generator(len(self), 104729))
        return self._take(order[held_out:]), self._take(order[:held_out])

    def _take(self, index: torch.Tensor) -> Records:
        return Records(self.z_n[index], self.c_m[index], self.n[index], self.m[index], self.manifests, self.refused)


def load(folders: list[Path], *, fingerprint: str) -> Records:
    """Read the releases in ``folders``. A bad shard is refused with its name and reason; the rest goes on.

    Raises:
        RecordError: a manifest cannot be believed, or was made for another base.
        UserError: nothing is left.
    """
    z: list[torch.Tensor] = []
    c: list[torch.Tensor] = []
    n: list[torch.Tensor] = []
    m: list[torch.Tensor] = []
    all_manifests: list[Manifest] = []
    refused: list[str] = []
    for folder in folders:
        manifest = manifests.read(folder)
        if manifest.base["fingerprint"] != fingerprint:
            raise RecordError(
                f"{folder}: sealed for base {manifest.base['name']!r} ({manifest.base['fingerprint'][:12]})",
                expected=f"the base in use ({fingerprint[:12]})",
                fix="pass the same --base to seal and train",
            )
        if any(manifest.release == other.release for other in all_manifests):
            raise RecordError(f"{folder}: the same release twice", fix="name each folder of records once")
        for entry in manifest.shards:
            try:
                tensors = shards.read(folder, entry, manifest)
            except RecordError as error:
                refused.append(f"{manifest.owner}: {error}")
                continue
            z.append(tensors["z_n"].float())
            c.append(tensors["c_m"].float())
            for steps, step in ((n, manifest.settings.seal_step), (m, manifest.settings.condition_step)):
                steps.append(torch.full((entry.records,), CLEAN if step is None else step))
        all_manifests.append(manifest)
    if not z:
        raise UserError("no usable record in " + ", ".join(map(str, folders)), fix="; ".join(refused) or "seal some pictures first")
    if len({manifest.shape for manifest in all_manifests}) > 1:
        raise RecordError("records of different sizes", expected="one size for all owners", fix="seal again for the same base")
    return Records(torch.cat(z), torch.cat(c), torch.cat(n), torch.cat(m), tuple(all_manifests), tuple(refused))


def batch_index(count: int, size: int, step: int, *, seed: int) -> torch.Tensor:
    """The records of batch ``step``: position ``step * size ...`` in an endless chain of seeded permutations of ``range(count)``."""
    index: list[torch.Tensor] = []
    position = step * size
    while size > 0:
        epoch, offset = divmod(position, count)
        part = torch.randperm(count, generator=generator(seed, epoch, 15485863))[offset : offset + size]
        index.append(part)
        position += len(part)
        size -= len(part)
    return torch.cat(index)
