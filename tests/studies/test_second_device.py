"""The whole path where the base is on another device than the pictures: seal, derive, train, generate, attack, compare."""

import json

import numpy as np
import pytest
import torch

from second_device import Mixed, second_device
from sfumato.attacker.records import direct_identity
from sfumato.core.device import choose_device, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion import base as bases
from sfumato.diffusion.base import load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.features import identity
from sfumato.judge.metrics.identity import Gallery
from sfumato.owner.folder import read_folder
from sfumato.owner.seal import seal
from sfumato.pictures import store
from sfumato.records import reader
from sfumato.records.record import SealSettings
from sfumato.server import derive, generate
from sfumato.server.fit import TrainConfig
from sfumato.server.train import train
from sfumato.studies.owners import write_folder
from sfumato.studies.records import audit, audited, cell, matrix, people
from sfumato.studies.records.audit import AuditConfig
from sfumato.studies.training import compare, step_time
from sfumato.studies.training.compare import CompareConfig
from tests_support import few_steps

ATTACKS = ("linear_mmse", "diffusion_prior:ddim", "own_controlnet:server", "direct_identity")


@pytest.fixture
def second(monkeypatch, tmp_path, home):
    """Everything on the second device, everything small."""
    of, drawn, measure, load, learn = Gallery.of, people.prior, step_time.measure, compare.store.load, identity.train
    monkeypatch.setenv("SFUMATO_DEVICE", "second")
    monkeypatch.setattr(matrix.guesses.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
    monkeypatch.setattr(audited, "MINIMUM", 10)
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **{**how, "drawn": 4}))
    monkeypatch.setattr(cell, "SERVER_STEPS", {"quick": 2})
    monkeypatch.setitem(direct_identity.STEPS, "quick", 2)
    monkeypatch.setattr(direct_identity, "PROBE_STEPS", dict.fromkeys(direct_identity.PROBE_STEPS, 2))
    monkeypatch.setattr(identity, "train", lambda described, who, **how: learn(described, who, **how | {"steps": 2}))
    monkeypatch.setattr(compare.step_time, "measure", lambda base, **how: measure(base, batch=2, rounds=1, steps=1))
    monkeypatch.setattr(compare.store, "load", lambda style, pool, n, **how: load(style, pool, min(n, 60), **how))
    few_steps(monkeypatch, generate, derive, steps=2)
    with second_device():
        yield monkeypatch


@pytest.fixture
def pictures(tmp_path):
    return write_folder(store.distinct("open-peeps", "recombined", 6, 2, seed=4, purpose="test"), tmp_path / "pictures")


def test_devices_never_meet_from_the_pictures_to_the_attack(second, pictures, tmp_path):
    base = load_base(device=choose_device())
    assert base.unet.device.type == base.vae.device.type == "second" and choose_precision() == "no"
    folder = read_folder(pictures, size=base.size, condition="canny")
    for name, how in {"records": {"condition_step": 200}, "derived": {"condition_step": None, "derived": True}}.items():
        settings = SealSettings(condition="canny", seal_step=300, **how)
        seal(folder, tmp_path / name, owner=name, codec=base, settings=settings, allow_rerelease=True)
    config = TrainConfig(steps=2, batch=4, held_out=2, checkpoint_every=1, seed=0)
    pairs = derive.if_needed(reader.load([tmp_path / "derived"], codec=base), base, seed=0)
    out = train(pairs, base, tmp_path / "net", config)
    net, found = load_latent_controlnet(out, device=base.unet.device)
    conditions = np.zeros((2, base.size, base.size, 3), np.uint8)
    assert generate.generate(base, ["a", "b"], seed=0, controlnet=net, settings=found, conditions=conditions).shape == (2, 64, 64, 3)

    figures = audit.run(
        tmp_path / "records", pictures, tmp_path / "out", AuditConfig(attacks=ATTACKS, people=6, each=2), asked={"attacks": {}}
    )
    cells = {name.partition("/")[2]: cell for name, cell in figures["cells"].items()}
    assert set(cells) == set(ATTACKS) and {cell["outcome"] for cell in cells.values()} == {"scored"}, json.dumps(cells, indent=1)


def test_schemes_side_by_side_and_the_step_that_is_timed_at_the_end(second, tmp_path):
    config = CompareConfig(domains=("own",), arms=("public", "split"), pictures=4, conditions=4, steps=2, batch=4)
    figures = compare.run(config, tmp_path / "compare")
    assert figures["settings"]["device"] == "second" and set(figures["schemes"]) == {"no_control", *config.arms}
    assert figures["speed"]["server_ratio"] > 0


def test_a_loop_that_mixes_devices_is_caught_unless_the_rule_holds(second):
    """The step as it once was timed: pictures and noise where they were drawn, networks elsewhere."""

    def step(base):
        draws = generator(0)
        images, t = torch.rand(2, 3, base.size, base.size, generator=draws), torch.tensor([1, 2])
        z_0 = base.vae.encode(images).latent_dist.sample(draws)
        context = base.embed(["a", "b"])
        return base.unet(z_0, t, encoder_hidden_states=context).sample

    assert step(load_base(device=choose_device())).device.type == "cpu"
    second.setattr(bases, "at_home", lambda module: module)
    with pytest.raises(Mixed):
        step(load_base(device=choose_device()))
