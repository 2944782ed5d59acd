"""Two processes train what one trains: torchrun's agent, gloo, the same global batch."""

import pytest
import torch
from safetensors.torch import load_file

from forked import launched, train_with_others
from server_support import SHARED, drawn
from sfumato.core import processes
from sfumato.diffusion.base import load_base
from sfumato.server.export import work_folder
from sfumato.server.train import train

TOLERANCE = 1e-5  # of a weight's change; float32 sums in another order
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def both(mini, tmp_path_factory):
    """One process's run, and two processes' run with what each was told."""
    folder = tmp_path_factory.mktemp("both")
    base, told = load_base(str(mini)), []
    train(drawn(base), base, folder / "one", SHARED, on_step=told.append)
    return folder, told, launched(2, train_with_others, str(mini), folder / "two")


def test_two_processes_end_in_the_weights_of_one(both):
    folder, _, _ = both
    one, two = (load_file(folder / name / WEIGHTS) for name in ("one", "two"))
    moved = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved < TOLERANCE * 4 * SHARED.lr or moved < 1e-7, moved
    parts = [load_file(work_folder(folder / name) / "checkpoint.safetensors") for name in ("one", "two")]
    assert parts[0].keys() == parts[1].keys() and int(parts[1]["step"]) == 4


def test_losses_are_those_of_all_records(both):
    _, told, said = both
    losses = [loss for loss, _ in said[0]]
    assert losses == pytest.approx([p.loss for p in told], rel=1e-5) and said[0][-1][1] == pytest.approx(told[-1].held_out_loss, rel=1e-5)
    assert said[1] == []  # the main process alone is told


def test_processes_share_the_drawing_of_pairs(both, mini):
    folder, _, _ = both
    (kept,) = (work_folder(folder / "two") / "derived").iterdir()
    assert len(list(kept.iterdir())) == 2 and not list(kept.glob(".*"))
    found = [load_file(path) for path in sorted(kept.iterdir())]
    alone = drawn(load_base(str(mini)))
    assert torch.allclose(torch.cat([part["z_0"] for part in found]), alone.z_n, atol=1e-6)


def test_one_process_goes_on_where_two_stopped(both, mini, tmp_path):
    folder, _, _ = both
    steps = []
    base = load_base(str(mini))
    out = train(drawn(base), base, tmp_path / "net", SHARED, work=work_folder(folder / "two"), on_step=lambda p: steps.append(p.step))
    one, two = (load_file(path / WEIGHTS) for path in (out, folder / "two"))
    assert steps == [] and all(torch.equal(one[name], two[name]) for name in one)


def test_one_process_is_all_there_is_without_a_group():
    value = torch.ones(2)
    with processes.joined():
        processes.add_up([value])
        processes.wait()
        assert (processes.count(), processes.rank(), processes.is_main(), processes.share(5)) == (1, 0, True, slice(0, 5))
    assert value.tolist() == [1, 1]


@pytest.mark.parametrize(("size", "count"), [(7, 2), (5, 3), (3, 3), (2, 3)])
def test_shares_are_all_of_it_once(size, count, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: count)
    rows = []
    for rank in range(count):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        rows += range(size)[processes.share(size)]
    assert rows == list(range(size))
