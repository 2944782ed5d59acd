"""How much memory a server needs to read records: checked, levelled, split, digested, and read in random batches.

python benchmarks/reader_memory.py                                    # 100,000 records of 4 x 64 x 64, 6.6 GB on the disk
python benchmarks/reader_memory.py --records 20000 --json docs/reader_memory.json

Records are written to a temporary folder, and read by another process, whose peak is compared with its own size before it reads. Values are
random; shards repeat a few drawn blocks with one value changed, so that no two are alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.core.memory import peak_bytes
from sfumato.core.randomness import generator
from sfumato.diffusion.schedule import Schedule
from sfumato.records import manifest as manifests
from sfumato.records import privacy, reader
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest
from sfumato.records.record import SHARD_RECORDS, SealSettings

SHAPE, FINGERPRINT = (4, 64, 64), "0" * 64
BLOCKS = 8
LEVELS = (200, 300)  # of the two owners' conditions: half are noised again by the server
SCHEDULE = Schedule((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0))


def write(folder: Path, count: int, bits: int, level: int) -> int:
    """Sealed records of random values; the bytes of their shards."""
    folder.mkdir(parents=True)
    draws = generator(0, level)
    drawn = [torch.randn((2, SHARD_RECORDS, *SHAPE), generator=draws) for _ in range(BLOCKS)]
    values = [block.half() if bits == 16 else (block * 16).round().clamp(-128, 127).to(torch.int8) for block in drawn]
    entries = []
    for number, start in enumerate(range(0, count, SHARD_RECORDS)):
        z_n, c_m = values[number % BLOCKS].clone()
        z_n.view(-1)[0], z_n.view(-1)[1] = number // 100, number % 100
        size = min(SHARD_RECORDS, count - start)
        entry, data = shards.pack({"z_n": z_n[:size], "c_m": c_m[:size]})
        (folder / entry.file).write_bytes(data)
        entries.append(entry)
    settings = SealSettings(condition="canny", seal_step=600, condition_step=level, bits=bits)
    key = Ed25519PrivateKey.generate()
    manifest = Manifest(
        owner=folder.name, public_key=manifests.public_hex(key), release=f"{level:032d}", base={"name": "tiny", "fingerprint": FINGERPRINT},
        shape=SHAPE, settings=settings, shards=tuple(entries), privacy=privacy.statement(privacy.releases(settings, SCHEDULE)),
        secure_noise=True, version="0.1.0",
    )  # fmt: skip
    manifests.write(manifest, folder, key)
    return sum(entry.bytes for entry in entries)


def read(folders: list[Path], batch: int, batches: int) -> dict[str, Any]:
    """What a server does with records before and while it trains, and the peak of this process, in bytes."""
    torch.set_num_threads(1)
    codec: Any = SimpleNamespace(fingerprint=FINGERPRINT, schedule=SCHEDULE, latent_shape=SHAPE)
    before, started = peak_bytes(), time.perf_counter()
    records = reader.load(folders, codec=codec).level_conditions(SCHEDULE, seed=0)
    train, _ = records.split(32)
    digest, chosen = records.digest(), records.take(train)
    loaded, steps = time.perf_counter(), min(batches, len(chosen) // batch)
    total = 0.0
    for step in range(steps):
        index = reader.batch_index(len(chosen), batch, step, seed=0)
        total += float(chosen.z_n[index].mean()) + float(chosen.c_m[index].mean())
    done = time.perf_counter()
    return {
        "records": len(records), "batches": steps, "refused": len(records.refused), "digest": digest[:12], "mean": total / max(1, steps),
        "process_before_bytes": before, "peak_bytes": peak_bytes(), "above_bytes": peak_bytes() - before,
        "seconds_to_load": round(loaded - started, 1), "milliseconds_a_batch": round(1000 * (done - loaded) / max(1, steps), 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--bits", type=int, choices=(8, 16), default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=400, help="of the training that are read")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there, too")
    parser.add_argument("--folder", type=Path, default=None, help="where records are written for a while")
    parser.add_argument("--read", type=Path, nargs="+", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read, args.batch, args.batches)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        folders = [Path(place) / f"owner{number}" for number in range(len(LEVELS))]
        sizes = [write(folder, args.records // len(folders), args.bits, level) for folder, level in zip(folders, LEVELS, strict=True)]
        again = [sys.executable, __file__, "--batch", str(args.batch), "--batches", str(args.batches), "--read", *map(str, folders)]
        done = subprocess.run(again, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    found = json.loads(done.stdout.splitlines()[-1])
    on_disk = sum(sizes)
    found |= {"bits": args.bits, "batch": args.batch, "shape": list(SHAPE), "bytes_on_disk": on_disk}
    found["above_over_disk"] = round(found["above_bytes"] / on_disk, 4)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
