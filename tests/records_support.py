"""What tests of records share: a small release, signed, of random values."""

from dataclasses import replace
from types import SimpleNamespace
from zlib import crc32

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.core.artifact import sha256
from sfumato.diffusion.schedule import Schedule
from sfumato.records import manifest as manifests
from sfumato.records import privacy
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest
from sfumato.records.record import SealSettings

SCHEDULE = Schedule((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0))
FINGERPRINT = "f" * 64
CODEC = SimpleNamespace(fingerprint=FINGERPRINT, schedule=SCHEDULE, latent_shape=(4, 4, 4))


def release(folder, *, owner="alice", n=600, m=200, key=None, count=6, shards_of=2, base=FINGERPRINT, broken=None, derived=False):
    """Write a small release of random records."""
    folder.mkdir()
    key = key or Ed25519PrivateKey.generate()
    draws = torch.Generator().manual_seed(crc32(owner.encode()))
    entries = []
    for _ in range(shards_of):
        z, c = (torch.randn(count // shards_of, 4, 4, 4, generator=draws) for _ in range(2))
        if broken is not None:
            z = broken(z)
        entry, data = shards.pack({"z_n": z.half()} if derived else {"z_n": z.half(), "c_m": c.half()})
        (folder / entry.file).write_bytes(data)
        entries.append(entry)
    settings = SealSettings(condition="canny", seal_step=n, condition_step=None if derived else m, derived=derived)
    known = settings if derived else replace(settings, condition_step=min(m, 999))
    stated = privacy.statement(privacy.releases(known, SCHEDULE))
    manifest = Manifest(
        owner=owner, public_key=manifests.public_hex(key), release=sha256(f"{owner} {n}".encode())[:32],
        base={"name": "tiny", "fingerprint": base},
        shape=(4, 4, 4), settings=settings, shards=tuple(entries), privacy=stated, secure_noise=True, version="0",
    )  # fmt: skip
    manifests.write(manifest, folder, key)
    return manifest, key
