"""A shard is checked without being kept, and read by rows; whatever is no shard is refused by name."""

import json
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from records_support import release
from sfumato.core.artifact import sha256
from sfumato.core.errors import RecordError, UserError
from sfumato.records import manifest as manifests
from sfumato.records import shard as shards
from sfumato.records.manifest import ShardEntry


def put(folder, data, *, records=2):
    """A file called by its own hash, as a signed manifest would name it."""
    entry = ShardEntry(sha256=sha256(data), records=records, bytes=len(data))
    (folder / entry.file).write_bytes(data)
    return entry


def fields(*, bits=16, count=2, seed=0):
    draws = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(count, 4, 4, 4, generator=draws) for name in ("z_n", "c_m")}
    return {name: value.half() if bits == 16 else (value * 16).round().to(torch.int8) for name, value in values.items()}


def of(manifest, bits):
    return replace(manifest, settings=replace(manifest.settings, bits=bits))


@pytest.mark.parametrize("bits", [8, 16])
def test_rows_come_in_any_order_and_as_often_as_asked(tmp_path, bits):
    manifest, _ = release(tmp_path / "a")
    stored = fields(bits=bits, count=9)
    entry, data = shards.pack(stored)
    (tmp_path / "a" / entry.file).write_bytes(data)
    shard = shards.check(tmp_path / "a", entry, of(manifest, bits))
    for index in ([3, 1, 1, 8, 0], [], list(range(9)), [7, 6, 5]):
        for name, value in stored.items():
            assert torch.equal(shard.rows(name, np.array(index, np.int64)), value[index])
    assert all(torch.equal(value, stored[name]) for name, value in shards.read(tmp_path / "a", entry, of(manifest, bits)).items())


def header(text, size=512):
    return len(text).to_bytes(8, "little") + text + bytes(size)


def described(**changes):
    about = {
        name: {"dtype": "F16", "shape": [2, 4, 4, 4], "data_offsets": [256 * k, 256 * k + 256]} for k, name in enumerate(("c_m", "z_n"))
    }
    return {**about, "z_n": {**about["z_n"], **changes}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(json.dumps(described()).encode()[:-1] + b', "z_n": {}}'), "twice"),
        (header(json.dumps(described(dtype="\x1b[2J\x1b]0;gone\x07")).encode()), "z_n is"),
        (header(json.dumps(described(dtype="I8")).encode()), "z_n is"),
        (header(json.dumps(described(dtype=["F16"])).encode()), "z_n is"),
        (header(json.dumps(described(shape=[2, 4, 4, 5])).encode()), "z_n is"),
        (header(json.dumps(described(shape=[2.0, 4, 4, 4], more=1)).encode()), "z_n is"),
        (header(json.dumps(described(data_offsets=[0, 256])).encode()), "of two"),
        (header(json.dumps(described(data_offsets=[100, 356])).encode()), "lies at"),
        (header(json.dumps(described(data_offsets=None)).encode()), "lies at"),
        (header(json.dumps({**described(), "__metadata__": {}}).encode()), "notes beside"),
        (header(json.dumps({**described(), "caption\x1b[2J": described()["z_n"]}).encode()), "fields"),
        (header(json.dumps(described()).encode(), size=1024), "of no field"),
        (header(b'["z_n", "c_m"]'), "fields"),
        (header(b"[" * 4000), "nested"),
        (header(b"\xff\xfe"), "not a readable"),
        ((2**62).to_bytes(8, "little") + bytes(64), "too long"),
        (b"\x80\x04" + bytes(60), "pickle"),
        (b"PK\x03\x04" + bytes(60), "zip"),
        (b"", "bytes"),
        (b"123", "bytes"),
    ],
)
def test_whatever_is_signed_and_no_shard_is_refused(tmp_path, data, message):
    manifest, _ = release(tmp_path / "a")
    entry = ShardEntry(sha256=sha256(data), records=2, bytes=max(1, len(data)))
    (tmp_path / "a" / entry.file).write_bytes(data)
    with pytest.raises(RecordError, match=message) as report:
        shards.check(tmp_path / "a", entry, manifest)
    assert str(report.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1001.0, -2000.0])
@pytest.mark.parametrize("place", [0, -1])
def test_one_value_that_is_no_latent_is_found(tmp_path, value, place):
    manifest, _ = release(tmp_path / "a")
    stored = fields()
    stored["z_n"].view(-1)[place] = value
    with pytest.raises(RecordError, match="NaN|reaches"):
        shards.check(tmp_path / "a", put(tmp_path / "a", shards.pack(stored)[1]), manifest)
    stored["z_n"].view(-1)[place] = 1000.0
    shards.check(tmp_path / "a", put(tmp_path / "a", shards.pack(stored)[1]), manifest)


def test_a_shard_larger_than_a_chunk_is_checked_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "CHUNK", 64)
    manifest, _ = release(tmp_path / "a")
    stored = fields(count=5)
    shards.check(tmp_path / "a", put(tmp_path / "a", shards.pack(stored)[1], records=5), manifest)
    stored["c_m"][-1, -1, -1, -1] = float("inf")
    with pytest.raises(RecordError, match="infinity"):
        shards.check(tmp_path / "a", put(tmp_path / "a", shards.pack(stored)[1], records=5), manifest)


def test_a_shard_that_changes_after_it_was_checked_is_refused(tmp_path):
    manifest, _ = release(tmp_path / "a")
    entry = put(tmp_path / "a", shards.pack(fields())[1])
    for change in (
        lambda path: os.truncate(path, entry.bytes - 300),
        lambda path: (path.write_bytes(bytes(entry.bytes)), os.utime(path, ns=(1, 1))),
        lambda path: path.unlink(),
    ):
        path = tmp_path / "a" / entry.file
        path.write_bytes(shards.pack(fields())[1])
        shard = shards.check(tmp_path / "a", entry, manifest)
        change(path)
        with pytest.raises(RecordError, match="changed after|cannot be read"):
            shard.rows("z_n", np.arange(2))


def test_links_out_of_the_folder_pipes_and_folders_are_refused_before_they_are_opened(tmp_path):
    manifest, _ = release(tmp_path / "a")
    data = shards.pack(fields())[1]
    entry = put(tmp_path, data)
    path = tmp_path / "a" / entry.file
    for target in (tmp_path / entry.file, path):  # another folder's, and itself
        path.symlink_to(target)
        with pytest.raises(RecordError, match="leads out"):
            shards.check(tmp_path / "a", entry, manifest)
        path.unlink()
    (tmp_path / "a" / "inner").write_bytes(data)
    path.symlink_to("inner")
    assert shards.check(tmp_path / "a", entry, manifest)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordError, match="not a file"):
        shards.check(tmp_path / "a", entry, manifest)
    path.unlink()
    path.mkdir()
    with pytest.raises(RecordError, match="not a file|cannot be read"):
        shards.check(tmp_path / "a", entry, manifest)


def test_a_manifest_that_is_a_link_out_or_a_pipe_is_refused(tmp_path):
    release(tmp_path / "a")
    path = tmp_path / "a" / manifests.NAME
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(RecordError, match="leads out"):
        manifests.read(tmp_path / "a")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a file"):
        manifests.read(tmp_path / "a")


def test_checking_keeps_nothing(tmp_path):
    """Eight megabytes are checked within three."""
    manifest, _ = release(tmp_path / "a", key=Ed25519PrivateKey.generate())
    big = replace(manifest, shape=(4, 64, 64))
    entry = put(tmp_path / "a", shards.pack({name: torch.zeros(128, 4, 64, 64).half() for name in ("z_n", "c_m")})[1], records=128)
    tracemalloc.start()
    try:
        shards.check(tmp_path / "a", entry, big)
        assert tracemalloc.get_traced_memory()[1] < entry.bytes // 3
    finally:
        tracemalloc.stop()
