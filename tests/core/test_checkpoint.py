"""A checkpoint gives back what was put in, to the run that put it there and to no other."""

import pytest
import torch

from sfumato.core import checkpoint
from sfumato.core.errors import UserError


def trained(steps, *, start=None):
    """A small network, its optimiser after ``steps`` steps, and the network's weights as tensors by name."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 1)).to(
            memory_format=torch.channels_last
        )
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
    if start is not None:
        net.load_state_dict({name.removeprefix("net."): value for name, value in start.items() if name.startswith("net.")})
        checkpoint.remember(optimiser, start)
    for step in range(0 if start is None else int(start["step"]), steps):
        net(torch.ones(1, 2, 4, 4) * (step + 1)).sum().square().backward()
        optimiser.step()
        optimiser.zero_grad()
    return {f"net.{name}": value.detach() for name, value in net.state_dict().items()}, optimiser


def test_a_run_that_goes_on_ends_in_the_same_weights(tmp_path):
    whole, _ = trained(6)
    half, optimiser = trained(3)
    checkpoint.save(tmp_path / "c", "this run", 3, half, optimiser)
    found = checkpoint.load(tmp_path / "c", "this run")
    again, _ = trained(6, start=found)
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert not all(torch.equal(half[name], value) for name, value in whole.items())


def test_memory_is_laid_out_as_the_parameters_are(tmp_path):
    tensors, optimiser = trained(2)
    checkpoint.save(tmp_path / "c", "run", 2, tensors, optimiser)
    _, resumed = trained(2, start=checkpoint.load(tmp_path / "c", "run"))
    state, was = (o.state_dict()["state"] for o in (resumed, optimiser))
    assert state.keys() == was.keys()
    assert state[0]["exp_avg"].stride() == was[0]["exp_avg"].stride() and torch.equal(state[0]["exp_avg"], was[0]["exp_avg"])
    assert set(checkpoint.memory(optimiser)) == {f"optimiser.{i}.{n}" for i in range(4) for n in ("step", "exp_avg", "exp_avg_sq")}


def test_another_run_is_refused_and_nothing_is_nothing(tmp_path):
    assert checkpoint.load(tmp_path / "c", "run") is None
    tensors, optimiser = trained(1)
    checkpoint.save(tmp_path / "c", "run", 1, tensors, optimiser, notes={"seed": "5"}, private=True)
    assert (tmp_path / "c").stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match="another run"):
        checkpoint.load(tmp_path / "c", "other")
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(tmp_path / "c", "run")


def test_what_a_killed_writer_left_is_swept_up(tmp_path):
    stray, other = tmp_path / ".c.abc.partial", tmp_path / ".d.abc.partial"
    stray.touch()
    other.touch()
    checkpoint.load(tmp_path / "c", "run")
    assert not stray.exists() and other.exists()


def test_whose_a_checkpoint_is_and_passing_over_it(tmp_path):
    tensors, optimiser = trained(1)
    path = tmp_path / "c"
    assert checkpoint.run_of(path) is None
    checkpoint.save(path, "this run", 1, tensors, optimiser)
    assert checkpoint.run_of(path) == "this run"
    with pytest.raises(UserError, match="another run") as raised:
        checkpoint.load(path, "other")
    assert "--overwrite" in raised.value.fix
    assert checkpoint.load(path, "other", overwrite=True) is None and checkpoint.load(path, "this run", overwrite=True) is not None
    path.write_bytes(path.read_bytes()[:-9])
    assert checkpoint.run_of(path) is None and checkpoint.load(path, "this run", overwrite=True) is None
