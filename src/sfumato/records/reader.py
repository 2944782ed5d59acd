"""Mix the records of several owners: a seeded global permutation, one pass of all records after another.

The order is a function of (seed, step) alone, so a run resumes at any step without saved state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sfumato.core.artifact import sha256
from sfumato.core.errors import RecordError, UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Codec
from sfumato.diffusion.schedule import CLEAN, Schedule
from sfumato.records import manifest as manifests
from sfumato.records import privacy
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest, ShardEntry
from sfumato.records.rows import Levelled, Rows, Stack, View, content
from sfumato.records.shard import Shard


@dataclass(frozen=True)
class Records:
    """Records of all owners: ``z_n`` and ``c_m`` of shape ``(N, 4, h, w)``; ``n``, ``m`` int64 ``(N,)``, -1 for clean.

    Latents that ``load`` found stay on the disk; ``z_n[index]`` reads some, ``z_n[:]`` all. Whoever has them in memory passes tensors.

    ``derived``: no condition left, and ``c_m`` is zeros until ``server.derive`` has found some; ``origin`` then says from what.
    ``shards``: those that hold the records, one after another; empty where records were picked out.
    """

    z_n: Rows
    c_m: Rows
    n: torch.Tensor
    m: torch.Tensor
    manifests: tuple[Manifest, ...]
    refused: tuple[str, ...]
    condition: str = "canny"
    derived: bool = False
    origin: str = ""
    shards: tuple[ShardEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.z_n)

    def level_conditions(self, schedule: Schedule, *, seed: int) -> Records:
        """Every condition at the largest m among the owners, with the server's own noise, which is a function of (seed, record)."""
        top = int(self.m.max())
        if bool((self.m == top).all()):
            return self
        return replace(self, c_m=Levelled(self.c_m, self.m, top, schedule, seed=seed), m=torch.full_like(self.m, top))

    def digest(self) -> str:
        """SHA-256 of what is in it: of the shards' hashes, of values in memory, or of what they were derived from, as another
        processor may find a last bit of those otherwise."""
        if self.origin:
            return self.origin
        return sha256(" ".join(content(part) for part in (self.z_n, self.c_m, self.n, self.m)).encode())

    def split(self, held_out: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A fixed random choice of ``held_out`` records aside, and the others to train on: the indices ``(train, held out)``."""
        order = torch.randperm(len(self), generator=generator(len(self), 104729))
        return order[held_out:], order[:held_out]

    def take(self, index: torch.Tensor) -> Records:
        """The records at ``index``: a view, nothing is copied."""
        return replace(self, z_n=View(self.z_n, index), c_m=View(self.c_m, index), n=self.n[index], m=self.m[index], shards=())


def load(folders: list[Path], *, codec: Codec, ignore_unlisted: bool = False, audit: bool = False) -> Records:
    """Check the releases in ``folders``; latents are read when they are asked for. A bad shard is refused with its name and reason.

    Args:
        folders: one for each release.
        codec: the base's VAE and schedule.
        ignore_unlisted: go on where a folder holds shards that its manifest does not list, without them.
        audit: take what must not be used as well, trials and withdrawn records, to look what they give away.

    Raises:
        RecordError: a manifest cannot be believed, does not fit the base, the others or its folder.
        UserError: nothing is left.
    """
    found: list[Shard] = []
    n: list[torch.Tensor] = []
    m: list[torch.Tensor] = []
    all_manifests: list[Manifest] = []
    refused: list[str] = []
    owner_of: dict[str, str] = {}
    for folder in folders:
        manifest = manifests.read(folder)
        if not audit:
            _check_standing(folder, manifest)
        check_fit(folder, manifest, codec)
        if not ignore_unlisted and (more := unlisted(folder, manifest)):
            raise RecordError(
                f"{folder}: holds {len(more)} shard{'s' if len(more) > 1 else ''} that its manifest does not list, {more[0]} first",
                expected="the manifest of the whole release: this one may be older, or a seal is not done",
                fix="fetch the newest manifest, finish the seal, or pass --ignore-unlisted to do without them",
            )
        if any(manifest.settings.condition != other.settings.condition for other in all_manifests):
            raise RecordError(
                f"{folder}: conditions are {manifest.settings.condition!r}, those before {all_manifests[0].settings.condition!r}",
                expected="one kind of condition: a ControlNet learns one",
                fix="train one ControlNet for each",
            )
        if any(manifest.settings.derived != other.settings.derived for other in all_manifests):
            raise RecordError(
                f"{folder}: {'no conditions' if manifest.settings.derived else 'conditions'} in it, unlike those before",
                expected="all with conditions, or all without",
                fix="train one ControlNet for each",
            )
        if any(manifest.release == other.release for other in all_manifests):
            raise RecordError(f"{folder}: the same release twice", fix="name each folder of records once")
        for entry in manifest.shards:
            if entry.sha256 in owner_of:
                refused.append(f"{manifest.owner}: {entry.file}: the very shard of {owner_of[entry.sha256]}, which is used already")
                continue
            try:
                found.append(shards.check(folder, entry, manifest))
            except RecordError as error:
                refused.append(f"{manifest.owner}: {error}")
                continue
            owner_of[entry.sha256] = manifest.owner
            for steps, step in ((n, manifest.settings.seal_step), (m, manifest.settings.condition_step)):
                steps.append(torch.full((entry.records,), CLEAN if step is None else step))
        all_manifests.append(manifest)
    if not found:
        raise UserError("no usable record in " + ", ".join(map(str, folders)), fix="; ".join(refused) or "seal some pictures first")
    settings = all_manifests[0].settings
    z_n = Stack(found, "z_n")
    c_m: Rows = torch.zeros(()).expand(z_n.shape) if settings.derived else Stack(found, "c_m")
    return Records(
        z_n, c_m, torch.cat(n), torch.cat(m), tuple(all_manifests), tuple(refused), settings.condition, settings.derived,
        shards=tuple(shard.entry for shard in found),
    )  # fmt: skip


def _check_standing(folder: Path, manifest: Manifest) -> None:
    """Refuse records that their owner did not give out."""
    if manifest.standing == "trial":
        raise RecordError(
            f"{folder}: a trial, sealed to be attacked and not to be used",
            expected="records that were sealed without --trial",
            fix="seal without --trial",
            privacy="a trial is not counted as a release: it must not leave its owner's machine",
        )
    if manifest.standing == "withdrawn":
        raise RecordError(
            f"{folder}: withdrawn: their owner says that these records never left, and counts them no more",
            expected="records that were not withdrawn",
            fix="ask the owner to seal again",
            privacy="with those that are sealed later, these are a second draw that nobody counts",
        )


def unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Names of shards in ``folder`` that ``manifest`` does not list."""
    listed = {entry.file for entry in manifest.shards}
    return sorted(ascii(path.name)[1:-1] for path in folder.glob("*.safetensors") if path.name not in listed)


def check_fit(folder: Path, manifest: Manifest, codec: Codec) -> None:
    """Refuse, with a RecordError, records that were sealed for another base than ``codec``, or at steps that it does not have."""
    if manifest.base["fingerprint"] != codec.fingerprint:
        raise RecordError(
            f"{folder}: sealed for base {manifest.base['name']!r} ({manifest.base['fingerprint'][:12]})",
            expected=f"the base in use ({codec.fingerprint[:12]})",
            fix="pass the same --base that the records were sealed with",
        )
    if manifest.shape != codec.latent_shape:
        raise RecordError(f"{folder}: latents of shape {manifest.shape}", expected=f"{codec.latent_shape}, the base's")
    for name, step, last in (
        ("seal step", manifest.settings.seal_step, codec.schedule.steps - 2),
        ("condition step", manifest.settings.condition_step, codec.schedule.steps - 1),
    ):
        if step is not None and step > last:
            raise RecordError(
                f"{folder}: {name} {step}", expected=f"at most {last}", fix="leave this owner out, or ask for another release"
            )
    try:
        privacy.check_schedule(manifest.privacy, manifest.settings, codec.schedule)
    except ValueError as error:
        raise RecordError(f"{folder}: {error}", fix="ask the owner to seal again", privacy="its guarantee would be wrong") from error


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
