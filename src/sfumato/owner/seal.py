"""Seal a folder of private pictures into one-way records: encode once, noise once, nothing comes back.

Write order for each shard: temporary file, line in the release ledger (on the disk), final name. The manifest comes last.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from sfumato import __version__
from sfumato.accounting import gaussian
from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import PrivacyError, UserError
from sfumato.core.randomness import Noise, SecureNoise
from sfumato.defences import latent_clip, sealed_noise
from sfumato.diffusion.base import Codec
from sfumato.owner import identity
from sfumato.owner.folder import Example, Folder
from sfumato.owner.release_ledger import Entry, ReleaseLedger, locked
from sfumato.records import manifest as manifests
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest, ShardEntry
from sfumato.records.record import SHARD_RECORDS, SealSettings

_RELEASE = ".release.json"
_ENCODE = 16


@dataclass
class Summary:
    """What a seal did; ``skipped`` are reports on files that were left out."""

    manifest: Manifest | None = None
    sealed: int = 0
    resumed: int = 0
    duplicates: int = 0
    skipped: list[str] = field(default_factory=list)


def seal(
    folder: Folder,
    out: Path,
    *,
    owner: str,
    codec: Codec,
    settings: SealSettings,
    allow_rerelease: bool = False,
    noise: Noise | None = None,
    store: Path | None = None,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Seal ``folder`` into ``out``. Running it again after a kill goes on where it stopped, with no second draw.

    Args:
        folder: the private pictures; read one after another.
        out: where the records go; everything in it is meant to leave the machine, but for ``.release.json``.
        owner: the name under which the records are signed.
        codec: the base's VAE and schedule.
        settings: steps, clips and condition.
        allow_rerelease: go on although some pictures were released before; their releases compose.
        noise: a source other than the system's secure one marks the manifest; for tests only.
        store: where keys and ledger live; ``$SFUMATO_HOME`` by default.
        on_picture: called with (pictures done, pictures in all).

    Raises:
        PrivacyError: a picture was released before.
        UserError: nothing usable in the folder, or ``out`` holds another release.
    """
    noise = noise or SecureNoise()
    for step in (settings.seal_step, settings.condition_step):
        codec.schedule.alpha(step)  # refuses steps outside the schedule before anything is written
    home = identity.owner_folder(owner, store)
    key = identity.signing_key(home)
    with locked(home):
        ledger = ReleaseLedger(home, identity.ledger_key(home))
        release = _open_release(out, settings, codec)
        done = _recover(out, ledger.of_release(release))
        summary = Summary(resumed=sum(entry.records for entry in done))
        own = {picture for entry in ledger.of_release(release) for picture in entry.pictures}
        earlier = ledger.earlier(release)
        if earlier and not allow_rerelease:
            _refuse_rereleased(folder, ledger, earlier)
        bound = _mu(settings, codec)
        pending = _pending(folder, ledger, own, summary, noise, on_picture)
        for names, z_0, c in _encoded(pending, codec):
            z_n, c_m = _apply(z_0, c, settings, codec, noise)
            entry, data = shards.pack(z_n, c_m)
            partial = out / f".{entry.sha256}.partial"
            _write_partial(partial, data)
            ledger.append(Entry(release, entry.sha256, entry.records, entry.bytes, names, bound))
            os.replace(partial, out / entry.file)
            done.append(entry)
            summary.sealed += entry.records
        if not done:
            reason = f"; first: {summary.skipped[0]}" if summary.skipped else ""
            raise UserError(f"{folder.path}: no picture could be sealed{reason}", fix="mend or replace the files named")
        worst = max((len(earlier.get(p, [])) for entry in ledger.of_release(release) for p in entry.pictures), default=0)
        summary.manifest = Manifest(
            owner=owner,
            public_key=manifests.public_hex(key),
            release=release,
            base={"name": codec.name if "/" not in codec.name else Path(codec.name).name, "fingerprint": codec.fingerprint},
            shape=(4, codec.size // codec.factor, codec.size // codec.factor),
            settings=settings,
            shards=tuple(done),
            privacy=privacy_statement(settings, codec, releases=1 + worst, secure=noise.secure),
            secure_noise=noise.secure,
            version=__version__,
        )
        manifests.write(summary.manifest, out, key)
    return summary


def privacy_statement(settings: SealSettings, codec: Codec, *, releases: int, secure: bool, delta: float = 1e-5) -> dict[str, object]:
    """The exact guarantee of a release, or the word "none" and why."""
    mu = _mu(settings, codec)
    if mu is None or not secure or releases > 1:
        why = (
            "the noise can be repeated by whoever knows the seed"
            if not secure
            else "latent or condition is unsealed or has no clip"
            if mu is None
            else "some pictures were released before; see the owner's ledger"
        )
        return {"guarantee": "none", "why": why, "releases": releases}
    return {
        "guarantee": "gaussian-dp",
        "unit": "one picture with its condition",
        "relation": "replace-one",
        "clip": settings.clip,
        "condition_clip": settings.condition_clip,
        "releases": releases,
        "mu": mu,
        "delta": delta,
        "epsilon": gaussian.epsilon(delta, mu),
    }


def _mu(settings: SealSettings, codec: Codec) -> float | None:
    """mu of one release, latent and condition together; ``None`` where either is unbounded."""
    parts = ((settings.seal_step, settings.clip), (settings.condition_step, settings.condition_clip))
    if any(step is None or clip is None for step, clip in parts):
        return None
    schedule = codec.schedule
    return gaussian.compose(gaussian.mu(float(schedule.alpha(s)), float(schedule.sigma(s)), 2 * c) for s, c in parts if c is not None)


def _open_release(out: Path, settings: SealSettings, codec: Codec) -> str:
    """The random id that ties ``out`` to its ledger lines, made on first use."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / _RELEASE
    wanted = json.loads(json.dumps({"settings": asdict(settings), "base": codec.fingerprint}))
    if path.exists():
        found = read_json(path, what="unfinished release")
        if {k: found.get(k) for k in wanted} != wanted:
            raise UserError(
                f"{out}: holds a release with other settings or for another base",
                fix="use the same settings to go on, or another output folder",
                privacy="mixing settings would make the manifest's statement wrong",
            )
        return str(found["release"])
    if (out / manifests.NAME).exists() or any(out.glob("*.safetensors")):
        raise UserError(f"{out}: already holds records, not of this release", fix="choose an empty folder")
    release = secrets.token_hex(16)
    write_json(path, {**wanted, "release": release})
    return release


def _recover(out: Path, entries: list[Entry]) -> list[ShardEntry]:
    """Finish what a kill interrupted: name the shards that the ledger already counts, drop the one that it does not."""
    done = []
    for entry in entries:
        shard = ShardEntry(sha256=entry.sha256, records=entry.records, bytes=entry.bytes)
        partial = out / f".{entry.sha256}.partial"
        if partial.exists():
            os.replace(partial, out / shard.file)
        if not (out / shard.file).exists():
            raise PrivacyError(
                f"{out}: shard {shard.file} was released but is gone",
                fix="put it back, or seal into a new folder with --allow-rerelease",
                privacy="sealing its pictures again is a second release",
            )
        done.append(shard)
    for stray in out.glob(".*.partial"):
        stray.unlink()
    return done


def _refuse_rereleased(folder: Folder, ledger: ReleaseLedger, earlier: dict[str, list[float | None]]) -> None:
    """Look at every picture before the first one leaves."""
    for example in folder:
        try:
            name = ledger.name(example.image())
        except UserError:
            continue  # reported when its turn comes
        if name in earlier:
            raise PrivacyError(
                f"{example.path.name}: this picture was released before",
                expected="every picture to be sealed once",
                fix="take it out of the folder, use the records that exist, or pass --allow-rerelease",
                privacy="each release is a fresh draw of the noise; together they show more than one",
            )


def _pending(
    folder: Folder,
    ledger: ReleaseLedger,
    own: set[str],
    summary: Summary,
    noise: Noise,
    on_picture: Callable[[int, int], None],
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The pictures still to be sealed, in a secret order: a record's place tells nothing about its file."""
    examples: list[Example] = list(folder)
    seen = set(own)
    for position, index in enumerate(noise.permutation(len(examples))):
        try:
            loaded = folder.load(examples[index])
        except UserError as report:
            summary.skipped.append(str(report))
            continue
        finally:
            on_picture(position + 1, len(examples))
        name = ledger.name(loaded.image)
        if name in seen:
            summary.duplicates += name not in own
            continue
        seen.add(name)
        yield name, loaded.image, loaded.condition


def _encoded(pending: Iterator[tuple[str, np.ndarray, np.ndarray]], codec: Codec) -> Iterator[tuple[list[str], torch.Tensor, torch.Tensor]]:
    """Latents of whole shards: ``(names, z_0, c)``; pixels are held for one small batch only."""
    names: list[str] = []
    z_0: list[torch.Tensor] = []
    c: list[torch.Tensor] = []
    batch: list[tuple[str, np.ndarray, np.ndarray]] = []

    def encode() -> None:
        both = np.stack([image for _, image, _ in batch] + [condition for _, _, condition in batch])
        latents = codec.encode(torch.from_numpy(both).permute(0, 3, 1, 2).float() / 127.5 - 1)
        z_0.append(latents[: len(batch)])
        c.append(latents[len(batch) :])
        names.extend(name for name, _, _ in batch)
        batch.clear()

    for item in pending:
        batch.append(item)
        if len(batch) == _ENCODE or len(names) + len(batch) == SHARD_RECORDS:
            encode()
        if len(names) == SHARD_RECORDS:
            yield list(names), torch.cat(z_0), torch.cat(c)
            for held in (names, z_0, c):
                held.clear()
    if batch:
        encode()
    if names:
        yield list(names), torch.cat(z_0), torch.cat(c)


def _apply(z_0: torch.Tensor, c: torch.Tensor, settings: SealSettings, codec: Codec, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
    z_n = sealed_noise.apply(latent_clip.apply(z_0, settings.clip), settings.seal_step, codec.schedule, noise=noise)
    c_m = sealed_noise.apply(latent_clip.apply(c, settings.condition_clip), settings.condition_step, codec.schedule, noise=noise)
    return z_n, c_m


def _write_partial(path: Path, data: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UserError(
            f"{path.parent}: a shard could not be written ({error.strerror})",
            fix="free some space and run the same command again",
            privacy="nothing of this shard was released",
        ) from error
