"""Federated averaging: every owner trains the whole ControlNet on its own pictures, the server averages weights. Flower's, not ours.

Strategies and simulation engine are Flower's (extra ``flower``); a simulation shows what is sent and how good it gets, not how long a
deployment takes. Owners hold the whole base, and stay until the last round. Their optimisers start anew in every round, as in the method
as published. No picture leaves; what weights give away of pictures is not bounded by anything here, so the guarantee is none.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from sfumato.accounting.accountant import Release
from sfumato.core import training
from sfumato.core.device import autocast, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.memory import peak_bytes
from sfumato.core.progress import Progress
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base, load_base
from sfumato.records.reader import Records, batch_index
from sfumato.schemes import centralised
from sfumato.schemes._wire import Job, Outcome, Traffic
from sfumato.server.fit import TrainConfig
from sfumato.server.train import Captioned, objective

DESCRIPTION = "federated averaging: whole ControlNets up and down, in every round"
UNBOUNDED = "what weights give away of a picture is not bounded here"
_opened: dict[tuple[str, str, str], tuple[Base, Records, Captioned]] = {}


def run(job: Job) -> Outcome:
    """Average until the owners together have made ``config.steps`` steps, each of them as many (rounded to that).

    Options: ``local_steps`` of an owner in a round; ``proximal_mu``: above 0 for FedProx.

    Raises:
        UserError: Flower is not installed, or no owner answered.
    """
    flower = _flower()
    config, names = job.config, list(job.folders)
    each = max(1, round(config.steps / len(names)))
    local_steps = min(job.options.get("local_steps", 20), each)
    rounds = -(-each // local_steps)
    mu = float(job.options.get("proximal_mu", 0.0))
    outcome = Outcome(controlnet=job.out, traffic={name: Traffic() for name in names}, online=True, server_trains=False)
    if each * len(names) != config.steps:
        outcome.notes.append(f"{each} steps of each of {len(names)} owners, {each * len(names)} in all, not {config.steps}")
    outcome.owners = {name: {} for name in names}
    model = nets.new_controlnet(job.base, generator=generator(config.seed, 1))
    folders, base_name, condition = list(job.folders.values()), job.base.name, job.condition
    client, server = flower.ClientApp(), flower.ServerApp()
    found: dict[str, Any] = {}

    @client.train()  # type: ignore[untyped-decorator]
    def train(message: Any, context: Any) -> Any:
        part = int(context.node_config["partition-id"])
        weights = message.content["arrays"].to_torch_state_dict()
        facts = dict(message.content["config"])
        done = (int(facts["server-round"]) - 1) * local_steps
        weights, told = local(
            folders[part], base_name, condition, weights, config, part=part, first=done,
            steps=min(local_steps, each - done), total=each, mu=float(facts.get("proximal-mu", 0.0)),
        )  # fmt: skip
        content = flower.RecordDict({"arrays": flower.ArrayRecord(weights), "metrics": flower.MetricRecord({**told, "part": part})})
        return flower.Message(content=content, reply_to=message)

    class Counted(flower.FedProx if mu else flower.FedAvg):  # type: ignore[misc]
        """Flower's strategy, what it sends and receives counted."""

        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            messages = list(super().configure_train(server_round, arrays, config, grid))
            for traffic in outcome.traffic.values() if len(messages) == len(names) else ():
                traffic.bytes_down += _bytes(arrays)
                traffic.messages_down += 1
            return messages

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            answers = [reply for reply in replies if not reply.has_error()]
            losses = [self._count(answer.content) for answer in answers]
            if len(answers) < len(names):
                outcome.notes.append(f"round {server_round}: {len(answers)} of {len(names)} owners answered; averaged over these")
            if not answers:
                raise UserError(f"round {server_round}: no owner answered ({[reply.error.reason for reply in replies][:1]})")
            job.on_step(Progress(min(each, server_round * local_steps) * len(names), each * len(names), sum(losses) / len(losses)))
            return super().aggregate_train(server_round, answers)

        def _count(self, content: Any) -> float:
            told = content["metrics"]
            name = names[int(told["part"])]
            outcome.traffic[name].bytes_up += _bytes(content["arrays"])
            outcome.traffic[name].messages_up += 1
            before = outcome.owners[name]
            outcome.owners[name] = {
                "pictures": told["num-examples"],
                "peak_bytes": max(before.get("peak_bytes", 0), told["peak-bytes"]),
                "seconds": before.get("seconds", 0.0) + told["seconds"],
                "flops": before.get("flops", 0) + told["flops"],
            }
            return float(told["loss"])

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Any, context: Any) -> None:
        how = {"proximal_mu": mu} if mu else {}
        strategy = Counted(fraction_evaluate=0.0, min_train_nodes=len(names), min_available_nodes=len(names), **how)
        result = strategy.start(
            grid=grid,
            initial_arrays=flower.ArrayRecord({name: value.cpu() for name, value in model.state_dict().items()}),
            num_rounds=rounds,
        )
        found.update(result.arrays.to_torch_state_dict())

    threads = max(1, torch.get_num_threads() // len(names))
    resources: dict[str, Any] = {
        "client_resources": {"num_cpus": threads, "num_gpus": 0.0},
        "init_args": {"num_cpus": threads * len(names)},
    }
    flower.run_simulation(server_app=server, client_app=client, num_supernodes=len(names), backend_config=resources)
    if not found:
        raise UserError("the federation ended without weights", fix="look at the messages above; no owner may have answered")
    model.load_state_dict(found)
    outcome.ledger = (Release(what="picture", alpha=1.0, sigma=0.0, clip=None, times=rounds, void=UNBOUNDED),)
    nets.save_controlnet(model.eval().requires_grad_(False), job.out, job.settings(captioned=True))
    job.declare("fedavg", outcome.ledger)
    return outcome


def ready() -> None:
    """Whether Flower is there. Raises UserError with the way to get it."""
    _flower()


def local(
    folder: Path,
    base_name: str,
    condition: str,
    weights: dict[str, torch.Tensor],
    config: TrainConfig,
    *,
    part: int,
    first: int,
    steps: int,
    total: int,
    mu: float,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """One round at one owner: its steps from ``first`` on, in the clear on its own pictures, from the server's ``weights``.

    ``mu`` weighs FedProx's ``mu / 2 ||w - w_server||^2``; ``total`` is the number of its steps in all rounds, over which the rate falls.
    """
    from torch.utils.flop_counter import FlopCounterMode

    started = time.monotonic()
    base, records, captions = _open(folder, base_name, condition)
    model = nets.new_controlnet(base, generator=generator(0))
    model.load_state_dict(weights)
    anchors = [parameter.detach().clone() for parameter in model.parameters()]
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    precision = "no" if config.precision == "no" else choose_precision(base.unet.device)  # the server's card is not the owner's
    losses: list[float] = []

    def loss(step: int, _: int) -> torch.Tensor:
        index = batch_index(len(records), config.batch, step, seed=config.seed + part)
        draws = generator(config.seed, 17, part, step)
        with autocast(base.unet.device, precision):
            value = objective(model, base, records, index, captions, draws)
            if mu:
                value = value + mu / 2 * sum((p - a).square().sum() for p, a in zip(model.parameters(), anchors, strict=True))
        return value

    def make(first: int, last: int) -> None:
        training.fit(
            optimiser, loss, first=first, steps=last, clip=1.0, tell=lambda progress: losses.append(progress.loss),
            rate=lambda step: config.lr * training.warmed(step, total, warmup=config.warmup),
        )  # fmt: skip

    with FlopCounterMode(display=False) as counter:  # steps are alike
        make(first, first + 1)
    make(first + 1, first + steps)
    told = {
        "num-examples": len(records), "loss": sum(losses) / len(losses), "seconds": time.monotonic() - started,
        "flops": steps * counter.get_total_flops(), "peak-bytes": peak_bytes(),
    }  # fmt: skip
    return model.state_dict(), told


def _open(folder: Path, base_name: str, condition: str) -> tuple[Base, Records, Captioned]:
    key = (str(folder), base_name, condition)
    if key not in _opened:
        _opened.clear()  # this process may have served another owner: its memory is one owner's
        from sfumato.diffusion.quiet import quiet_libraries

        quiet_libraries()
        base = load_base(base_name)
        _opened[key] = (base, *centralised.from_folders([folder], base, condition=condition))
    return _opened[key]


def _bytes(arrays: Any) -> int:
    return sum(len(array.data) for array in arrays.values())


def _flower() -> Any:
    """Flower's names, or a word on how to get it."""
    for name, value in {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
        from flwr.clientapp import ClientApp
        from flwr.serverapp import ServerApp
        from flwr.serverapp.strategy import FedAvg, FedProx
        from flwr.simulation import run_simulation
    except ImportError as error:
        raise UserError(f"fedavg needs Flower ({error})", fix='pip install "sfumato[flower]"') from error
    logging.getLogger("flwr").setLevel(logging.ERROR)
    return SimpleNamespace(
        ArrayRecord=ArrayRecord, Message=Message, MetricRecord=MetricRecord, RecordDict=RecordDict, ClientApp=ClientApp,
        ServerApp=ServerApp, FedAvg=FedAvg, FedProx=FedProx, run_simulation=run_simulation,
    )  # fmt: skip
