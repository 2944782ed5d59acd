"""Training a network autoencoder: that it learns, only what it should, and goes on in the same bits; its file; what it refuses."""

import dataclasses
import json

import pytest
import torch

from adapters_support import adapter_of, output, task_of
from sfumato.adapters.dreambooth import FinetuneConfig, Step, losses
from sfumato.adapters.lora import Adapter, LoraSettings, attached
from sfumato.adapters.train_many import train_many
from sfumato.adapters.trajectories import Store, Trajectory, train_all
from sfumato.attacker.weights import _train_autoencoder as module
from sfumato.attacker.weights._autoencoder import Autoencoder, AutoencoderConfig, load
from sfumato.attacker.weights._shadows import Shadows
from sfumato.attacker.weights._train_autoencoder import train
from sfumato.attacker.weights.network_autoencoder import VARIANTS
from sfumato.core.artifact import from_bytes, metadata_of, to_bytes
from sfumato.core.errors import UserError
from sfumato.core.randomness import evenly, generator

SMALL = LoraSettings(rank=2)


def people(base, count):
    """Trajectories of people whose pictures are all alike, and unlike the others'."""
    tasks = []
    for k in range(count):
        task = task_of(k, prior=False)
        tasks.append(dataclasses.replace(task, latents=task.latents[:1] + 0.1 * task.latents))
    many = train_many(base, tasks, SMALL, FinetuneConfig(steps=6, batch=2, lr=1e-2), keep=(0, 2, 4))
    return [(Trajectory(many.trajectory(k), many.stack.alphas, (0, 2, 4, 6)), task.latents) for k, task in enumerate(tasks)]


@pytest.fixture(scope="module")
def shadows(base):
    return Shadows.of(people(base, 3), dtype=torch.float32)


@pytest.fixture(scope="module")
def more(base):
    return Shadows.of(people(base, 6))


def config(**changes):
    usual = {
        "encoder": "probe",
        "budget": 6,
        "together": 3,
        "rows": 2,
        "lr": 3e-3,
        "validate_every": 2,
        "checkpoint_every": 2,
        "aside": 0.0,
    }
    return AutoencoderConfig(**{**usual, **changes})


def equal(one, two):
    return one.facts == two.facts and all(torch.equal(x, two.state_dict()[name]) for name, x in one.state_dict().items())


def loss_of(base, shadows, model, how):
    """The mean loss over all of the shadows, under the model's embeddings and under the empty prompt, of the same draws."""
    picks = [(who, at) for who in range(len(shadows.people)) for at in range(3)]
    contexts = module._encode(model, shadows, picks)[0].detach()
    how = dataclasses.replace(how, together=len(picks))
    with torch.no_grad(), module._decoding(base, shadows, how) as decoder:
        empty = base.empty_context.expand(len(picks), -1, -1)
        return [float(decoder.losses(shadows, picks, z, rows=16, draws=generator(99)).mean()) for z in (contexts, empty)]


# ---------------------------------------------------------------- what is learned from


def test_shadows_are_read_from_a_store(base, tmp_path):
    tasks, store = {f"p{k}": task_of(k, prior=False) for k in range(2)}, Store(tmp_path)
    train_all(base, tasks, SMALL, FinetuneConfig(steps=3, batch=2, lr=1e-2), store, keep=(0, 2))
    found = Shadows.read(store, {name: task.latents for name, task in tasks.items()})
    assert len(found.people) == 2 and found.steps == (2, 3) and found.layout.rank == 2
    assert found.people[1].rows.dtype == torch.float16 and torch.equal(found.people[1].latents, tasks["p1"].latents)
    there = store.get("p1").adapter(3)
    assert torch.allclose(found.people[1].rows[1].float(), found.layout.row(there.factors), atol=1e-3)
    last = found.final()
    assert last.steps == (3,) and torch.equal(last.people[0].rows[0], found.people[0].rows[1])


def test_people_are_set_aside_evenly_where_there_are_enough(more, shadows):
    mine, held = more.parted(0.34)
    assert len(mine.people) == 4 and len(held.people) == 2 and held.people[1] is more.people[3]
    assert not shadows.parted(0.5)[1].people and not more.parted(0.0)[1].people


def test_public_people_that_make_no_sense(base, shadows):
    trajectory, latents = people(base, 1)[0]
    other = Trajectory(trajectory.factors, dict.fromkeys(trajectory.alphas, 9.0), trajectory.steps)
    broken = Trajectory({name: (a, b * float("inf")) for name, (a, b) in trajectory.factors.items()}, trajectory.alphas, trajectory.steps)
    start = Trajectory({name: (a[:1], b[:1]) for name, (a, b) in trajectory.factors.items()}, trajectory.alphas, (0,))
    with pytest.raises(UserError, match="no public people"):
        Shadows.of([])
    with pytest.raises(UserError, match="no pictures"):
        Shadows.of([(trajectory, latents[:0])])
    with pytest.raises(UserError, match="no adapter after a step"):
        Shadows.of([(start, latents)])
    with pytest.raises(UserError, match="public person 1: other layers, rank or alpha"):
        Shadows.of([(trajectory, latents), (other, latents)])
    with pytest.raises(UserError, match="no finite numbers"):
        Shadows.of([(broken, latents)])


# ---------------------------------------------------------------- one step


def test_many_decoders_at_once_are_each_victims_own(base, shadows):
    """Against PEFT, one adapter after another, on the very same draws."""
    picks, how = [(0, 2), (2, 0), (1, 1)], config()
    contexts = base.embed(["a", "b", "c"])
    with torch.no_grad(), module._decoding(base, shadows, how) as decoder:
        many = decoder.losses(shadows, picks, contexts, rows=2, draws=generator(4))
    draws = generator(4)
    z_0 = torch.cat([shadows.people[who].latents[evenly(3, 2, draws)] for who, _ in picks])
    t = module.draw_t(torch.full((6,), how.t_from - 1), 1000, generator=draws)
    assert bool((t >= how.t_from).all())
    eps = torch.randn(z_0.shape, generator=draws)
    for k, (who, at) in enumerate(picks):
        part = slice(2 * k, 2 * k + 2)
        factors = {
            name: (a[at], b[at]) for name, (a, b) in shadows.layout.cut(shadows.people[who].rows).items() if name.startswith("unet.")
        }
        drawn = Step(z_0=z_0[part], eps=eps[part], t=t[part], text=torch.zeros(2, dtype=torch.long))
        with torch.no_grad(), attached(base, Adapter(factors=factors, alphas={name: shadows.layout.alphas[name] for name in factors})):
            alone = losses(base, drawn, contexts[k][None, None], FinetuneConfig(batch=2))
        assert float(many[k]) == pytest.approx(float(alone), rel=1e-4)


@pytest.mark.parametrize("together", [1, 2, 5])
def test_measurements_can_be_repeated_whatever_fits_together(base, more, together):
    _, held = more.parted(0.5)
    assert module._held_picks(held) == [(0, 2), (1, 2), (2, 2)]
    empty, other = base.empty_context.expand(3, -1, -1), 3 * base.embed(["a", "b", "c"])
    with module._decoding(base, more, config(together=together)) as decoder:
        mine, none, again, theirs = decoder.held_out(held, [empty, None, empty, other])
    assert mine == none == again != theirs


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("encoder", VARIANTS)
def test_it_learns_and_leaves_the_base_as_it_was(base, shadows, encoder):
    before, rng, digest = output(base), torch.get_rng_state(), shadows.digest()
    how = config(encoder=encoder, budget=20, lr=1e-1, rows=8)
    model = train(base, shadows, how)
    mine, empty = loss_of(base, shadows, model, how)
    assert mine < (1 if encoder == "constant" else 0.985) * empty  # the control can only learn what all have in common
    assert torch.equal(output(base), before) and torch.equal(torch.get_rng_state(), rng) and shadows.digest() == digest
    assert not any(p.requires_grad for m in (base.unet, base.text_encoder, model) for p in m.parameters())
    assert len(model.facts["curve"]) == 10 and model.facts["people"] == 3 and model.facts["adapters"] == 9


def test_same_seed_same_weights_another_seed_others(base, shadows):
    one, two, other = (train(base, shadows, config(budget=2, seed=seed)) for seed in (1, 1, 2))
    assert equal(one, two) and not equal(one, other)


def test_what_did_best_on_people_set_aside_is_kept(base, more, monkeypatch):
    said = iter([[0.5, 0.6], [0.4, 0.6], [0.7, 0.6], [0.8, 0.6]])
    kept = []

    def measure(model, decoder, held):
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(said)

    monkeypatch.setattr(module, "_measure", measure)
    model = train(base, more, config(budget=20, aside=0.3, patience=2))
    assert len(kept) == 4  # two in a row were no better
    assert all(torch.equal(value, kept[1][name]) for name, value in model.state_dict().items())
    assert [row[2] for row in model.facts["curve"]] == [0.5, 0.4, 0.7, 0.8] and model.facts["loss without"] > 0
    assert model.facts["people"] == 4 and model.facts["people set aside"] == 2


def test_only_final_adapters_are_learned_from_where_that_is_wanted(base, shadows):
    model = train(base, shadows, config(budget=1, steps_used="final"))
    assert model.facts["adapters"] == 3 and model.steps == (6,)


def test_without_an_adapter_of_the_unet(base):
    """The network embedding takes the prompt's place, so that the text encoder's part is something to read, and nothing else."""
    made = adapter_of(base, 1, targets=(), rank=2)
    trajectory = Trajectory({name: (a[None], b[None]) for name, (a, b) in made.factors.items()}, made.alphas, (5,))
    model = train(base, Shadows.of([(trajectory, task_of(1).latents)]), config(budget=1, together=2))
    assert model.embed(made).mu.shape == base.empty_context.shape[1:]


def test_a_loss_that_is_no_number_stops(base, shadows):
    broken = dataclasses.replace(shadows.people[0], latents=shadows.people[0].latents * float("nan"))
    with pytest.raises(UserError, match="at step 0"):
        train(base, Shadows(shadows.layout, (broken,)), config())


# ---------------------------------------------------------------- going on


class Killed(Exception):
    """Stands for a kill."""


def killed_at(step):
    def stop(done, total):
        if done == step:
            raise Killed

    return stop


@pytest.mark.parametrize(("encoder", "step"), [("hypernet", 1), ("hypernet", 5), ("invariant", 3)])
def test_a_killed_run_ends_in_the_same_bits(base, more, tmp_path, encoder, step):
    how, path = config(encoder=encoder, aside=0.3), tmp_path / "c.safetensors"
    whole = train(base, more, how)
    with pytest.raises(Killed):
        train(base, more, how, checkpoint=path, tell=killed_at(step))
    assert path.exists() == (step > 2)
    told = []
    again = train(base, more, how, checkpoint=path, tell=lambda done, total: told.append(done))
    assert told[0] == {1: 1, 3: 3, 5: 5}[step] and equal(whole, again)
    assert not list(tmp_path.iterdir())  # a finished run leaves no checkpoint


def test_what_was_trained_is_kept_and_not_trained_again(base, shadows, tmp_path):
    out = tmp_path / "a.safetensors"
    made = train(base, shadows, config(budget=2), out=out, checkpoint=tmp_path / "c.safetensors")
    assert equal(load(out, base), made) and not (tmp_path / "c.safetensors").exists()
    again = train(base, shadows, config(budget=2), out=out, tell=lambda done, total: pytest.fail("it trained again"))
    assert equal(again, made)
    with pytest.raises(UserError, match="of another run"):
        train(base, shadows, config(budget=2, seed=1), out=out)
    assert equal(load(out, base), made)
    other = train(base, shadows, config(budget=2, seed=1), out=out, overwrite=True)
    assert other.facts["run"] != made.facts["run"] and equal(load(out, base), other)


def test_a_checkpoint_of_another_run_is_refused(base, shadows, more, tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(Killed):
        train(base, shadows, config(), checkpoint=path, tell=killed_at(3))
    for data, how in ((more, config()), (shadows, config(lr=1e-3)), (shadows, config(steps_used="final"))):
        with pytest.raises(UserError, match="another run"):
            train(base, data, how, checkpoint=path)


# ---------------------------------------------------------------- its file


@pytest.fixture(scope="module")
def trained(base, more):
    return train(base, more, config(budget=3, aside=0.3, validate_every=1))


def test_what_is_saved_is_read_back(base, trained, tmp_path):
    path = tmp_path / "a.safetensors"
    trained.save(path)
    back = load(path, base)
    assert equal(trained, back) and back.config == trained.config and back.layout == trained.layout and back.steps == trained.steps
    adapter = adapter_of(base, 3, rank=2)
    assert torch.equal(trained.embed(adapter).mu, back.embed(adapter).mu)
    assert not any(p.requires_grad for p in back.parameters()) and not back.training
    first = path.read_bytes()
    back.save(path)
    assert path.read_bytes() == first
    notes = json.loads(metadata_of(first)["autoencoder"])
    assert notes["base"] == base.unet_fingerprint and notes["guarantee"] == "none" and "public" in notes["knowledge"]
    assert notes["facts"]["people"] == 4 and notes["config"]["encoder"] == "probe" and notes["rank"] == 2


def test_a_file_that_is_none_of_ours_is_refused(base, trained, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="could not be read"):
        load(path, base)
    trained.save(path)
    data = path.read_bytes()
    tensors, notes = from_bytes(data, name="a"), json.loads(metadata_of(data)["autoencoder"])

    def write(tensors, **changes):
        path.write_bytes(to_bytes(tensors, {"autoencoder": json.dumps(notes | changes)}))

    write(tensors, base="0" * 64)
    with pytest.raises(UserError, match="a network autoencoder for base 000000000000\nexpected: one for base .*\nfix: "):
        load(path, base)
    for changes in ({"schema": 99}, {"layers": {"x": [1]}}, {"config": {"encoder": "none"}}, {"config": {"what": 1}}, {"steps": "x"}):
        write(tensors, **changes)
        with pytest.raises(UserError, match="no network autoencoder of this release"):
            load(path, base)
    write({name: value for name, value in tensors.items() if name != "anchor"})
    with pytest.raises(UserError, match="not those that its notes speak of"):
        load(path, base)
    write(tensors | {"anchor": tensors["anchor"] * float("nan")})
    with pytest.raises(UserError, match="no finite numbers"):
        load(path, base)
    for wrong in (data[:-7], to_bytes(tensors), b""):
        path.write_bytes(wrong)
        with pytest.raises(UserError):
            load(path, base)


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder": "none"},
        {"steps_used": "some"},
        {"budget": 0},
        {"together": 0},
        {"rows": 0},
        {"lr": 0.0},
        {"kl_weight": -1.0},
        {"kl_weight": float("nan")},
        {"aside": 1.0},
        {"precision": "fp8"},
    ],
)
def test_configurations_that_make_no_sense(wrong):
    with pytest.raises(UserError):
        AutoencoderConfig(**wrong)


def test_adapters_of_another_base_are_no_shadows(base, shadows):
    foreign = dataclasses.replace(shadows.layout, sides={f"{name}x": sides for name, sides in shadows.layout.sides.items()})
    foreign = dataclasses.replace(foreign, alphas=dict.fromkeys(foreign.sides, 1.0))
    with pytest.raises(UserError, match="no such layer"):
        train(base, Shadows(foreign, shadows.people), config())
    assert isinstance(Autoencoder(base, shadows.layout, config(), steps=(1,)), torch.nn.Module)
