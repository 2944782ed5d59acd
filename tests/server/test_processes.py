"""Two processes train what one trains: torchrun, gloo, the same global batch."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from sfumato.core import processes
from sfumato.diffusion.base import load_base
from sfumato.records.reader import Records
from sfumato.server import derive
from sfumato.server.export import work_folder
from sfumato.server.fit import TrainConfig
from sfumato.server.train import train

TOLERANCE = 1e-5  # of a weight's change; float32 sums in another order
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCRIPT = """
import sys
from pathlib import Path
import torch
from test_processes import CONFIG, drawn, sealed
from sfumato.core import processes
from sfumato.diffusion.base import load_base
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.server.export import work_folder
from sfumato.server.train import train
quiet_libraries()
with processes.joined():
    base, out, told = load_base(sys.argv[1]), Path(sys.argv[2]), []
    pairs = drawn(base, work_folder(out))
    train(pairs, base, out, CONFIG, on_step=told.append)
    assert bool(told) == processes.is_main() and processes.count() == 2
    if told:
        print("losses", *[p.loss for p in told], "aside", told[-1].held_out_loss)
"""
CONFIG = TrainConfig(steps=4, batch=5, accumulation=2, warmup=1, held_out=3, checkpoint_every=2)


def sealed():
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(17, 4, 8, 8, generator=draws)
    return Records(z, torch.zeros_like(z), torch.tensor([600] * 9 + [300] * 8), torch.full((17,), 200), (), ())


def drawn(base, work=None):
    return derive.from_records(sealed(), base, condition="canny", seed=0, steps=2, work=work)


@pytest.fixture(scope="module")
def both(mini, tmp_path_factory):
    """One process's run, and two processes' run with what they printed."""
    folder = tmp_path_factory.mktemp("both")
    base, told = load_base(str(mini)), []
    train(drawn(base), base, folder / "one", CONFIG, on_step=told.append)
    here = os.path.dirname(os.path.abspath(__file__))
    (folder / "run.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", ""), *sys.path]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(folder / "run.py"), str(mini)]
    made = subprocess.run([*command, str(folder / "two")], capture_output=True, text=True, env=environment, timeout=500)
    assert made.returncode == 0, made.stderr[-4000:]
    return folder, told, made.stdout


def test_two_processes_end_in_the_weights_of_one(both):
    folder, _, _ = both
    one, two = (load_file(folder / name / WEIGHTS) for name in ("one", "two"))
    moved = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved < TOLERANCE * 4 * CONFIG.lr or moved < 1e-7, moved
    parts = [load_file(work_folder(folder / name) / "checkpoint.safetensors") for name in ("one", "two")]
    assert parts[0].keys() == parts[1].keys() and int(parts[1]["step"]) == 4


def test_losses_are_those_of_all_records(both):
    _, told, printed = both
    words = printed.split("losses ")[1].split()
    losses, aside = [float(word) for word in words[:4]], float(words[5])
    assert losses == pytest.approx([p.loss for p in told], rel=1e-5) and aside == pytest.approx(told[-1].held_out_loss, rel=1e-5)
    assert printed.count("losses") == 1  # the main process alone tells


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
    out = train(drawn(base), base, tmp_path / "net", CONFIG, work=work_folder(folder / "two"), on_step=lambda p: steps.append(p.step))
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
