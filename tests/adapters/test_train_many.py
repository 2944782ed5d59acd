"""Many adapters at once against each on its own, by PEFT; and their store."""

import dataclasses

import pytest
import torch

from adapters_support import output, task_of
from sfumato.adapters.dreambooth import FinetuneConfig
from sfumato.adapters.lora import LoraSettings, attached, linears
from sfumato.adapters.train_many import RowAdamW, Stack, StackedLinear, stacked, train_many
from sfumato.adapters.train_one import first_adapter, train_one
from sfumato.adapters.trajectories import Store, train_all
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import load_base

SMALL = LoraSettings(rank=2)


def config(**changes):
    return FinetuneConfig(**{"steps": 3, "batch": 2, "lr": 1e-2, **changes})


def three(**how):
    """Three tasks of different pictures, prompts, seeds and rates."""
    tasks = [dataclasses.replace(task_of(k, **how), lr=lr) for k, lr in enumerate((None, 1e-3, 2e-3))]
    tasks[1] = dataclasses.replace(tasks[1], prompts=("x", "y", "x"))
    return tasks


def apart(one, two):
    """Largest difference of any weight, and largest relative error of any Delta W."""
    weights = max(float((x - y).abs().max()) for name in one.factors for x, y in zip(one.factors[name], two.factors[name], strict=True))
    ours, theirs = one.deltas(), two.deltas()
    return weights, max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in theirs)


@pytest.fixture(scope="module")
def double(mini):
    made = load_base(str(mini))
    made.unet.double()
    made.text_encoder.double()
    return made


# ---------------------------------------------------------------- the same mathematics


@pytest.mark.parametrize("text_targets", [("q_proj", "v_proj"), ()])
def test_fifty_steps_of_three_at_once_are_fifty_of_each_alone(double, text_targets):
    settings, how = LoraSettings(rank=4, lora_alpha=7, text_targets=text_targets), config(steps=50, clip=0.05)
    tasks = three()
    many = train_many(double, tasks, settings, how, keep=(20,))
    for k, task in enumerate(tasks):
        alone = train_one(double, task, settings, how, keep=(20,))
        assert apart(many.adapter(k), alone.adapter)[0] < 1e-6
        assert apart(many.adapter(k, step=20), alone.kept[20])[0] < 1e-6
        assert many.losses[:, k].tolist() == pytest.approx(alone.losses, rel=1e-6)


def test_in_single_precision_the_effect_is_the_same(base):
    settings, how, tasks = LoraSettings(rank=4), config(steps=50), three()
    many = train_many(base, tasks, settings, how)
    for k, task in enumerate(tasks):
        assert apart(many.adapter(k), train_one(base, task, settings, how).adapter)[1] <= 1e-3


def test_who_else_trains_does_not_matter(double):
    tasks = three()
    together, other = train_many(double, tasks, SMALL, config()), train_many(double, [tasks[2], tasks[0]], SMALL, config())
    assert apart(together.adapter(2), other.adapter(0))[0] < 1e-12
    assert apart(together.adapter(0), other.adapter(1))[0] < 1e-12


def test_one_that_explodes_does_not_drag_the_others(double):
    calm, wild = three()[:2]
    wild = dataclasses.replace(wild, latents=1e3 * wild.latents)
    beside = train_many(double, [calm, wild], SMALL, config())
    assert apart(beside.adapter(0), train_many(double, [calm], SMALL, config()).adapter(0))[0] < 1e-12


def test_without_class_pictures(double):
    tasks = three(prior=False)
    many = train_many(double, tasks, SMALL, config())
    assert apart(many.adapter(1), train_one(double, tasks[1], SMALL, config()).adapter)[0] < 1e-9


# ---------------------------------------------------------------- its parts


def test_a_stacked_layer_is_each_layer_on_its_own_rows():
    draws = generator(0)
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 5, 7)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    a, b, x = (torch.randn(shape, generator=draws) for shape in ((3, 2, 5), (3, 7, 2), (6, 4, 5)))
    got = StackedLinear(layer, a, b, 1.5)(x)
    for k in range(3):
        rows = x[2 * k : 2 * k + 2]
        assert torch.allclose(got[2 * k : 2 * k + 2], layer(rows) + 1.5 * rows @ a[k].T @ b[k].T, atol=1e-5)


def test_gradients_of_one_stay_in_its_row(base):
    stack = Stack([first_adapter(base, SMALL, task) for task in three()], device="cpu")
    x = torch.randn((6, 4, 16), generator=generator(1))
    name = next(name for name, (a, _) in stack.leaves.items() if a.shape[-1] == 16)
    layer = StackedLinear(linears(base, SMALL)[name], *stack.leaves[name], 1.0)
    others = sum(0.0 * leaf.sum() for pair in stack.leaves.values() for leaf in pair)
    grad = stack.gradient(layer(x)[2:4].square().sum() + others)
    assert grad.shape == stack.theta.shape and grad[1].any() and not grad[0].any() and not grad[2].any()


def test_leaves_are_views_of_theta(base):
    made = [first_adapter(base, SMALL, task) for task in three()]
    stack = Stack(made, device="cpu")
    assert stack.theta.shape == (3, made[0].parameters)
    assert apart(stack.adapter(stack.theta[1]), made[1])[0] == 0
    stack.theta.add_(1)
    name = next(iter(stack.leaves))
    assert torch.equal(stack.leaves[name][0][2], made[2].factors[name][0] + 1)


@pytest.mark.parametrize("clip", [0.01, 1.0, 1e9])
def test_rows_are_clipped_and_stepped_as_torch_does_it(clip):
    draws = generator(0)
    theta = torch.randn((3, 11), generator=draws, dtype=torch.float64)
    lrs = torch.tensor([1e-1, 1e-2, 1e-3], dtype=torch.float64)
    references = [torch.nn.Parameter(row.clone()) for row in theta]
    optimisers = [torch.optim.AdamW([p], lr=float(lr), weight_decay=0.1) for p, lr in zip(references, lrs, strict=True)]
    ours = RowAdamW(theta, lrs, config(clip=clip, weight_decay=0.1))
    for _ in range(5):
        grad = torch.randn((3, 11), generator=draws, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [100.0]])
        ours.step(grad.clone())
        for p, optimiser, row in zip(references, optimisers, grad, strict=True):
            p.grad = row.clone()
            torch.nn.utils.clip_grad_norm_([p], clip)
            optimiser.step()
    assert torch.allclose(theta, torch.stack([p.detach() for p in references]), atol=1e-12)


def test_the_base_is_left_as_it_was(base):
    before, keys, rng = output(base), list(base.unet.state_dict()), torch.get_rng_state()
    stack = Stack([first_adapter(base, SMALL, task_of(1))], device="cpu")
    with pytest.raises(ZeroDivisionError), stacked(base, stack, SMALL):
        assert any(isinstance(m, StackedLinear) for m in base.unet.modules())
        1 / 0  # noqa: B018
    train_many(base, three(), SMALL, config(steps=1))
    assert list(base.unet.state_dict()) == keys and torch.equal(output(base), before) and torch.equal(torch.get_rng_state(), rng)


def test_every_kept_step_of_every_adapter(base):
    told = []
    many = train_many(base, three(), SMALL, config(), keep=(0, 2), on_step=lambda step, each: told.append((step, tuple(each.shape))))
    assert sorted(many.kept) == [0, 2, 3] and told == [(1, (3,)), (2, (3,)), (3, (3,))] and many.losses.shape == (3, 3)
    name, (a, b) = next(iter(many.trajectory(1).items()))
    assert a.shape[:2] == (3, 2) and b.shape[0] == 3
    assert torch.equal(a[1], many.adapter(1, step=2).factors[name][0])
    assert apart(many.adapter(2, step=0), first_adapter(base, SMALL, three()[2]))[0] == 0


def test_tasks_that_cannot_share_a_batch(base):
    with pytest.raises(UserError, match="some tasks with class pictures"):
        train_many(base, [task_of(1), task_of(2, prior=False)], SMALL, config())
    with pytest.raises(UserError, match="no task"):
        train_many(base, [], SMALL, config())
    with pytest.raises(UserError, match="steps to keep"):
        train_many(base, [task_of(1)], SMALL, config(), keep=(4,))


def test_a_loss_that_is_no_number_names_whose(base):
    tasks = three()
    tasks[1].latents.fill_(float("nan"))
    with pytest.raises(UserError, match=r"adapters \[1\]"):
        train_many(base, tasks, SMALL, config())


# ---------------------------------------------------------------- the store


def people():
    return {f"person-{k}": task for k, task in enumerate([*three(), task_of(3), task_of(4)])}


def test_the_store_gives_back_what_was_trained(base, tmp_path):
    store, seen = Store(tmp_path), []
    done = train_all(base, people(), SMALL, config(), store, keep=(1,), together=2, on_step=lambda *x: seen.append(x))
    assert done == store.names() == [f"person-{k}" for k in range(5)] and seen[-1] == (15, 15)
    found = store.get("person-1")
    many = train_many(base, list(people().values())[:2], SMALL, config(), keep=(1,))
    assert found.steps == (1, 3) and apart(found.adapter(3), many.adapter(1))[0] == 0
    assert apart(found.adapter(1), many.adapter(1, step=1))[0] == 0
    with attached(base, found.adapter(3)):
        output(base)


def test_what_is_there_is_not_trained_again(base, tmp_path):
    store, tasks = Store(tmp_path), people()
    first = dict(list(tasks.items())[:2])
    train_all(base, first, SMALL, config(), store, keep=())
    (tmp_path / "person-1.json").unlink()  # killed between its two files
    assert train_all(base, tasks, SMALL, config(), store, keep=(), together=4) == ["person-1", "person-2", "person-3", "person-4"]
    assert train_all(base, tasks, SMALL, config(), store, keep=()) == []
    assert train_all(base, first, SMALL, config(lr=1e-3), store, keep=()) == ["person-0", "person-1"]  # another recipe


def test_processes_share_the_names(base, tmp_path):
    store, lazy = Store(tmp_path), {name: (lambda task=task: task) for name, task in people().items()}
    parts = [train_all(base, lazy, SMALL, config(steps=1), store, keep=(), rank=rank, world=2) for rank in range(2)]
    assert parts == [["person-0", "person-2", "person-4"], ["person-1", "person-3"]]


def test_half_precision_takes_half_the_room(base, tmp_path):
    sizes = []
    for dtype in (torch.float32, torch.float16):
        train_all(base, {"x": task_of(1)}, SMALL, config(lr=1e-4), Store(tmp_path / str(dtype)), keep=(), dtype=dtype)
        sizes.append(sum(v.numel() * v.element_size() for v in _tensors(tmp_path / str(dtype) / "x.safetensors")))
    assert sizes[1] * 2 == sizes[0]


def _tensors(path):
    from safetensors.torch import load_file

    return load_file(path).values()


def test_a_store_that_is_damaged_says_so(base, tmp_path):
    store = Store(tmp_path)
    train_all(base, {"x": task_of(1)}, SMALL, config(steps=1), store, keep=())
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="not a readable safetensors"):
        store.get("x")
    (tmp_path / "x.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        store.get("x")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match="schema"):
        store.get("x")
    for name in ("../x", "", ".x", "a/b"):
        with pytest.raises(UserError, match="names a file"):
            store.has(name, "run")
    for wrong in ({"together": 0}, {"rank": 2, "world": 2}):
        with pytest.raises(UserError):
            train_all(base, {}, SMALL, config(), store, keep=(), **wrong)
