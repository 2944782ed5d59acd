"""Flower averages what owners trained: the weights, the bytes and the words."""

import builtins

import pytest
import torch

from sfumato.accounting import accountant
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.schemes import fedavg
from sfumato.schemes._wire import Job
from sfumato.server.fit import TrainConfig

# Ray leaves its own processes to its own end.
pytestmark = pytest.mark.filterwarnings(
    "ignore:subprocess:ResourceWarning", "ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def job(base, make_folder, tmp_path):
    def make(steps=8, **options):
        folders = {"alice": make_folder("alice", count=6), "bob": make_folder("bob", count=3, seed=1)}
        config = TrainConfig(steps=steps, batch=2, warmup=1, held_out=0, lr=1e-3)
        return Job(folders=folders, base=base, out=tmp_path / "net", config=config, options=options)

    return make


def test_two_rounds_are_two_weighted_averages_of_what_owners_make(job):
    told = []
    work = job(local_steps=2)
    object.__setattr__(work, "on_step", told.append)
    outcome = fedavg.run(work)

    weights = nets.new_controlnet(work.base, generator=generator(0, 1)).state_dict()
    size = 4 * sum(value.numel() for value in weights.values())
    for number in range(2):
        parts = [
            fedavg.local(folder, work.base.name, "canny", weights, work.config, part=part, first=2 * number, steps=2, total=4, mu=0.0)[0]
            for part, folder in enumerate(work.folders.values())
        ]
        weights = {name: (6 * parts[0][name] + 3 * parts[1][name]) / 9 for name in weights}
    found, settings = nets.load_latent_controlnet(outcome.controlnet)
    for name, value in found.state_dict().items():
        assert torch.allclose(value, weights[name], atol=2e-5), name
    assert settings["scheme"] == "fedavg" and [progress.step for progress in told] == [4, 8]

    for owner, pictures in (("alice", 6), ("bob", 3)):
        traffic, report = outcome.traffic[owner], outcome.owners[owner]
        assert (traffic.messages_up, traffic.messages_down) == (2, 2) and report["pictures"] == pictures
        assert 0 <= traffic.bytes_up - 2 * size <= 0.3 * size and 0 <= traffic.bytes_down - 2 * size <= 0.3 * size
        assert report["peak_bytes"] > 50e6 and report["flops"] > 0 and report["seconds"] > 0
    assert outcome.online and all(row["guarantee"] == "none" for row in accountant.card(outcome.ledger))


def test_a_proximal_term_holds_an_owner_near_the_server(base, make_folder):
    weights = nets.new_controlnet(base, generator=generator(0, 1)).state_dict()
    config = TrainConfig(steps=20, batch=4, warmup=1, held_out=0, lr=1e-3, weight_decay=0.0)

    def drift(mu):
        made, told = fedavg.local(
            make_folder(f"mu{mu}", count=6), base.name, "canny", weights, config, part=0, first=0, steps=10, total=20, mu=mu
        )
        assert told["num-examples"] == 6
        return sum(float((made[name] - weights[name]).square().sum()) for name in weights) ** 0.5

    assert drift(1000.0) < 0.5 * drift(0.0)


def test_without_flower_it_says_how_to_get_it(monkeypatch, job):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("flwr"):
            raise ImportError("No module named 'flwr'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs Flower"):
        fedavg.ready()
    with pytest.raises(UserError, match="needs Flower") as error:
        fedavg.run(job())
    assert "sfumato[flower]" in error.value.fix
