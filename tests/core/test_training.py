"""The one loop: the mathematics of a loop by hand, and what happens between its steps."""

import math
import signal
from itertools import pairwise

import pytest
import torch

from sfumato.core import checkpoint, processes
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress
from sfumato.core.randomness import generator
from sfumato.core.training import fit, warmed

X, Y = (torch.randn(shape, generator=generator(9)) for shape in ((24, 5), (24, 3)))


def new():
    """A small network and its optimiser."""
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(1)))
    return net, torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)


def objective(net, step, *, rows=slice(None)):
    """Of a batch that the step decides."""
    index = torch.randperm(24, generator=generator(2, step))[:12][rows]
    return (net(X[index]) - Y[index]).square().mean()


def run(steps=6, **how):
    """What comes of a run: the weights, and what was told."""
    net, optimiser = new()
    told = []
    fit(optimiser, how.pop("loss", lambda step, part: objective(net, step)), steps=steps, tell=told.append, **how)
    return [p.detach() for p in net.parameters()], told


def by_hand(steps=6, *, rate=None, clip=None):
    net, optimiser = new()
    losses = []
    for step in range(steps):
        if rate is not None:
            optimiser.param_groups[0]["lr"] = rate(step)
        loss = objective(net, step)
        optimiser.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimiser.step()
        losses.append(float(loss.detach()))
    return [p.detach() for p in net.parameters()], losses


def equal(one, two):
    return all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


# ---------------------------------------------------------------- the mathematics


@pytest.mark.parametrize("how", [{}, {"clip": 0.05}, {"rate": lambda step: 1e-2 / (step + 1)}])
def test_it_is_the_loop_that_one_would_write(how):
    weights, told = run(**how)
    wanted, losses = by_hand(**how)
    assert equal(weights, wanted) and told == [Progress(k + 1, 6, loss) for k, loss in enumerate(losses)]
    if how:
        assert not equal(weights, by_hand()[0])


def test_a_clip_holds_the_gradient_to_its_norm():
    net, _ = new()
    before = [p.detach().clone() for p in net.parameters()]
    fit(torch.optim.SGD(net.parameters(), lr=1.0), lambda step, part: objective(net, step), steps=1, clip=0.25)
    moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(net.parameters(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(0.25, rel=1e-4)


def test_parts_of_a_batch_teach_what_the_whole_does():
    net, optimiser = new()
    calls, told = [], []

    def third(step, part):
        calls.append((step, part))
        return objective(net, step, rows=slice(4 * part, 4 * part + 4)) / 3

    fit(optimiser, third, steps=4, parts=3, tell=told.append)
    wanted, losses = by_hand(4)
    assert calls == [(step, part) for step in range(4) for part in range(3)]
    assert all(torch.allclose(p, w, atol=1e-6) for p, w in zip(net.parameters(), wanted, strict=True))
    assert [p.loss for p in told] == pytest.approx(losses, rel=1e-6)


def test_gradients_in_fp16_are_scaled_up_and_back():
    net, optimiser = new()
    scaler, seen = torch.amp.GradScaler("cpu", init_scale=2.0**10), []
    net[0].weight.register_post_accumulate_grad_hook(lambda p: seen.append(float(p.grad.norm())))
    fit(optimiser, lambda step, part: objective(net, step), steps=1, scaler=scaler)
    plain, _ = new()
    objective(plain, 0).backward()
    assert seen == pytest.approx([2**10 * float(plain[0].weight.grad.norm())])
    assert all(torch.allclose(p, w, atol=1e-6) for p, w in zip(net.parameters(), by_hand(1)[0], strict=True))


def test_gradients_that_were_there_before_are_nobodys():
    net, optimiser = new()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    fit(optimiser, lambda step, part: objective(net, step), steps=2)
    assert equal([p.detach() for p in net.parameters()], by_hand(2)[0]) and net[0].weight.grad is None


@pytest.mark.parametrize("steps", [12, 400])
def test_the_rate_rises_and_falls_to_nothing(steps):
    shares = [warmed(step, steps, warmup=5) for step in range(steps)]
    assert shares[0] == pytest.approx(0.2) and 0.7 < max(shares) <= 1 and shares[-1] < 0.05
    assert all(later > sooner for sooner, later in pairwise(shares[:4])) and all(later < sooner for sooner, later in pairwise(shares[5:]))
    assert warmed(0, steps, warmup=0) == 1


# ---------------------------------------------------------------- between the steps


def test_hooks_are_called_in_their_order():
    seen = []
    _, told = run(
        5, every=2, after=lambda done, loss: seen.append(("after", done, loss)), save=lambda done: seen.append(("save", done)),
    )  # fmt: skip
    assert [entry[:2] for entry in seen] == [
        ("after", 1), ("after", 2), ("save", 2), ("after", 3), ("after", 4), ("save", 4), ("after", 5),
    ]  # fmt: skip
    assert [loss for kind, *rest in seen if kind == "after" for loss in rest[1:]] == [p.loss for p in told]


def test_nothing_is_saved_at_the_end_nor_where_nobody_asked():
    saved = []
    run(4, every=2, save=saved.append)
    run(4, save=saved.append)
    assert saved == [2]


def test_enough_is_enough():
    seen = []
    _, told = run(9, after=lambda done, loss: done == 3, every=3, save=seen.append)
    assert [p.step for p in told] == [1, 2, 3] and seen == [3]  # the last step is saved and told


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_not_learnt(value):
    net, optimiser = new()
    told = []
    with pytest.raises(UserError, match=r"at step 2\nfix: pray"):
        fit(optimiser, lambda k, part: objective(net, k) * (value if k == 2 else 1), steps=6, tell=told.append, fix="pray")
    assert len(told) == 2 and equal([p.detach() for p in net.parameters()], by_hand(2)[0])


# ---------------------------------------------------------------- going on


class Killed(Exception):
    """Stands for a kill."""


def resumable(path, *, steps=7, kill=0, interrupt=0):
    """A run that goes on from ``path``, as a trainer has it."""
    net, optimiser = new()
    state = checkpoint.load(path, "run")
    if state is not None:
        net.load_state_dict({name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")})
        checkpoint.remember(optimiser, state)

    def save(done):
        checkpoint.save(path, "run", done, {f"net.{name}": value for name, value in net.state_dict().items()}, optimiser)

    def tell(progress):
        told.append(progress)
        if progress.step == kill:
            raise Killed
        if progress.step == interrupt:
            signal.raise_signal(signal.SIGINT)

    told, first = [], 0 if state is None else int(state["step"])
    try:
        fit(
            optimiser, lambda step, part: objective(net, step), first=first, steps=steps, every=2, save=save, tell=tell,
            rate=lambda step: 1e-2 * warmed(step, steps, warmup=2),
        )  # fmt: skip
    except (Killed, KeyboardInterrupt) as stopped:
        return type(stopped), [p.step for p in told]
    return [p.detach() for p in net.parameters()], [p.step for p in told]


@pytest.mark.parametrize(("kill", "rest"), [(1, [1, 2, 3, 4, 5, 6, 7]), (4, [5, 6, 7]), (5, [5, 6, 7])])
def test_a_killed_run_ends_in_the_same_bits(tmp_path, kill, rest):
    whole, _ = resumable(tmp_path / "whole")
    assert resumable(tmp_path / "parts", kill=kill) == (Killed, list(range(1, kill + 1)))
    weights, told = resumable(tmp_path / "parts")
    assert equal(weights, whole) and told == rest


def test_an_interrupt_ends_the_step_and_leaves_its_checkpoint(tmp_path):
    whole, _ = resumable(tmp_path / "whole")
    assert resumable(tmp_path / "parts", interrupt=2) == (KeyboardInterrupt, [1, 2])
    assert int(checkpoint.read(tmp_path / "parts")[0]["step"]) == 3  # the third was under way, and is not lost
    weights, told = resumable(tmp_path / "parts")
    assert equal(weights, whole) and told == [4, 5, 6, 7]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_without_checkpoints_is_one_all_the_same():
    saved = []

    def interrupted(done, loss):
        if done == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(after=interrupted, save=saved.append)
    assert saved == []


# ---------------------------------------------------------------- several processes


def test_processes_make_one_step_of_their_shares(monkeypatch):
    """Two of them that see the same: each takes half of the loss, so that the sum is one alone's."""
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "add_up", lambda tensors: [tensor.mul_(2) for tensor in tensors])
    net, optimiser = new()
    told = []
    fit(optimiser, lambda step, part: objective(net, step) / 2, steps=4, joint=True, tell=told.append)
    wanted, losses = by_hand(4)
    assert equal([p.detach() for p in net.parameters()], wanted) and [p.loss for p in told] == pytest.approx(losses, rel=1e-6)


def test_a_run_of_ones_own_is_not_summed(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "add_up", lambda tensors: pytest.fail("summed"))
    assert equal(run()[0], by_hand()[0])


@pytest.mark.parametrize("main", [True, False])
def test_all_stop_where_one_of_them_is_interrupted(monkeypatch, main):
    def add_up(tensors):
        tensors[0][1] += 1  # the other process was

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "is_main", lambda: main)
    monkeypatch.setattr(processes, "add_up", add_up)
    saved = []
    with pytest.raises(KeyboardInterrupt):
        run(joint=True, every=100, save=saved.append)
    assert saved == ([1] if main else [])
