"""Rows that are read on demand mean what a tensor of the same values would."""

import numpy as np
import pytest
import torch

from records_support import CODEC, SCHEDULE, release
from sfumato.core.artifact import from_bytes
from sfumato.records import reader
from sfumato.records.rows import BLOCK, Levelled, View, blocks, content


@pytest.fixture
def loaded(tmp_path):
    """Records of two owners, and all their latents as tensors."""
    ours = [release(tmp_path / owner, owner=owner, m=m, count=8, shards_of=4)[0] for owner, m in (("alice", 100), ("bob", 300))]
    files = [tmp_path / manifest.owner / entry.file for manifest in ours for entry in manifest.shards]
    read = [from_bytes(path.read_bytes(), name=path.name) for path in files]
    whole = {name: torch.cat([one[name] for one in read]).float() for name in ("z_n", "c_m")}
    return reader.load([tmp_path / manifest.owner for manifest in ours], codec=CODEC), whole


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(None), slice(3, 11, 2), slice(5, 2), [1, 15, 1], torch.tensor([9, 2, 2]), np.array([4, 12]), torch.arange(16) % 3 == 0,
     None, ..., torch.tensor([[0, 5], [15, 3]])],
)  # fmt: skip
def test_an_index_means_what_it_means_to_a_tensor(loaded, index):
    records, whole = loaded
    for name, rows in (("z_n", records.z_n), ("c_m", records.c_m)):
        assert rows.shape == whole[name].shape and len(rows) == 16
        found, wanted = rows[index], whole[name][index]
        assert found.dtype == torch.float32 and found.shape == wanted.shape and torch.equal(found, wanted)


@pytest.mark.parametrize("index", [16, -17, [0, 99]])
def test_rows_that_are_not_there_are_an_error(loaded, index):
    with pytest.raises(IndexError):
        loaded[0].z_n[index]


def test_what_is_read_is_the_callers_own(loaded):
    records, whole = loaded
    records.z_n[:].zero_()
    assert torch.equal(records.z_n[:], whole["z_n"])


def test_a_choice_is_a_view_that_reads_its_own_rows(loaded):
    records, whole = loaded
    train, aside = records.split(4)
    assert sorted(torch.cat([train, aside]).tolist()) == list(range(16))
    part = records.take(train).take(torch.tensor([3, 0]))
    wanted = train[[3, 0]]
    assert torch.equal(part.z_n[:], whole["z_n"][wanted]) and torch.equal(part.c_m[1], whole["c_m"][wanted[1]])
    assert torch.equal(part.n, records.n[wanted]) and torch.equal(part.m, records.m[wanted])


def test_the_noise_of_a_level_is_a_function_of_seed_and_record(loaded):
    records, whole = loaded
    level = records.level_conditions(SCHEDULE, seed=4)
    everything = level.c_m[:]
    assert torch.equal(level.c_m[[7, 2]], everything[[7, 2]]) and torch.equal(level.take(torch.tensor([5, 1])).c_m[:], everything[[5, 1]])
    assert torch.equal(everything[8:], whole["c_m"][8:])  # those at the largest m already
    assert not torch.equal(everything, records.level_conditions(SCHEDULE, seed=5).c_m[:])
    noise = everything[:8] - float(SCHEDULE.alpha(300) / SCHEDULE.alpha(100)) * whole["c_m"][:8]
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.6  # 64 values: no two records share it


def test_rows_in_memory_are_rows(loaded):
    _, whole = loaded
    view = View(whole["z_n"], torch.tensor([2, 0]))
    assert torch.equal(view[:], whole["z_n"][[2, 0]])
    level = Levelled(whole["c_m"], torch.full((16,), -1), 300, SCHEDULE, seed=0)
    assert float(level[:].std()) == pytest.approx(1, abs=0.1)
    assert torch.equal(whole["c_m"], loaded[0].c_m[:])  # nothing was noised in place


def test_content_tells_other_values_other_orders_and_other_noise_apart(loaded):
    records, whole = loaded
    index = torch.tensor([0, 1])
    several = [
        whole["z_n"], whole["z_n"].flip(0), whole["z_n"] + 1e-6, records.z_n, records.c_m, View(records.z_n, index),
        View(records.z_n, index.flip(0)), records.level_conditions(SCHEDULE, seed=1).c_m, records.level_conditions(SCHEDULE, seed=2).c_m,
    ]  # fmt: skip
    assert len({content(rows) for rows in several}) == len(several)
    assert content(whole["z_n"]) == content(whole["z_n"].clone())
    assert records.digest() != records.take(index).digest() and len(records.digest()) == 64


def test_the_digest_follows_the_shards(tmp_path):
    for name in ("a", "b"):
        release(tmp_path / name, owner="alice")
    release(tmp_path / "c", owner="carol")
    a, b, c = (reader.load([tmp_path / name], codec=CODEC).digest() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("count", [0, 1, BLOCK, 2 * BLOCK + 3])
def test_blocks_go_through_all_rows_in_order(count):
    rows = torch.arange(count * 4).float().view(count, 4)
    parts = list(blocks(rows))
    assert sum(map(len, parts)) == count and all(len(part) <= BLOCK for part in parts)
    assert count == 0 or torch.equal(torch.cat(parts), rows)
