"""Conventional split learning: owners hold the ControlNet's entrance, the server the rest; forward up, gradient down, every batch.

An owner computes ``a = conv_in(z_t) + embedding(c)`` and sends ``a``, ``z_t``, ``t``, the target ``eps`` and the caption's context; the
server sends the gradient of ``a`` back. Owners take turns, and the entrance goes from one to the next through the server. An owner must
be there until the last step. The guarantee is none: ``z_t`` and ``eps`` give the picture, and the caption travels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sfumato.accounting.accountant import Release
from sfumato.core import checkpoint
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import TextCodec, load_text_codec
from sfumato.diffusion.noising import draw_t
from sfumato.diffusion.schedule import CLEAN
from sfumato.owner.folder import Folder
from sfumato.records.reader import batch_index
from sfumato.schemes._wire import Job, Outcome, Peer, Tensors, Vanished
from sfumato.server.export import work_folder
from sfumato.server.fit import fit, rate

DESCRIPTION = "conventional split learning: activations up, gradients down, owners in turn"
DROPPED = 0.1


class Owner:
    """What an owner computes: the entrance, forwards and backwards, and its optimiser's steps."""

    load = staticmethod(load_text_codec)

    def __init__(self, folder: Folder, base: TextCodec, *, lr: float, weight_decay: float, ema: float, seed: int, **others: Any) -> None:
        loaded = [folder.load(example) for example in folder]
        self.z_0 = base.encode_pixels(np.stack([item.image for item in loaded]))
        self.c = base.encode_pixels(np.stack([item.condition for item in loaded]))
        captions = [item.caption for item in loaded]
        self.context = torch.cat([base.embed(captions[i : i + 64]) for i in range(0, len(captions), 64)])
        self.empty, self.schedule = base.empty_context, base.schedule
        self.lr, self.weight_decay, self.ema, self.seed = lr, weight_decay, ema, seed

    def take(self, tensors: Tensors) -> Tensors:
        """Take the entrance over: its weights, their average and the optimiser's moments."""
        parts = _parts(tensors)
        self.entrance = nets.Entrance.from_weights(parts["weights"])
        self.average = parts["average"]
        self.optimiser = torch.optim.AdamW(self.entrance.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        if "optimiser" in parts:
            checkpoint.remember(self.optimiser, tensors)
        return {}

    def give(self, tensors: Tensors) -> Tensors:
        """Hand the entrance on."""
        weights = {f"weights.{k}": v.detach() for k, v in self.entrance.state_dict().items()}
        return {**weights, **{f"average.{k}": v for k, v in self.average.items()}, **checkpoint.memory(self.optimiser)}

    def forward(self, tensors: Tensors, *, number: int, size: int) -> Tensors:
        """Batch ``number`` of this owner, as far as the entrance."""
        index = batch_index(len(self.z_0), size, number, seed=self.seed)
        draws = generator(self.seed, 5, number)
        t = draw_t(torch.full((size,), CLEAN), self.schedule.steps, generator=draws)
        eps = torch.randn(self.z_0[index].shape, generator=draws)
        z_t = self.schedule.add_noise(self.z_0[index], t, eps)
        keep = torch.rand((size, 1, 1), generator=draws) >= DROPPED
        self._out = self.entrance(z_t, self.c[index])
        return {"a": self._out.detach(), "z_t": z_t, "t": t, "eps": eps, "context": torch.where(keep, self.context[index], self.empty)}

    def backward(self, tensors: Tensors, *, rate: float, step: int, last: bool) -> Tensors:
        """Take the gradient of ``a``; with the last of a step, make the step."""
        self._out.backward(tensors["grad"])
        if not last:
            return {}
        torch.nn.utils.clip_grad_norm_(self.entrance.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in self.entrance.state_dict().items():
                self.average[name].lerp_(value, 1 - min(self.ema, (1 + step) / (10 + step)))
        return {}


def run(job: Job) -> Outcome:
    """Train with the owners in turn. Option ``turn``: steps before the entrance goes on to the next owner.

    An owner that vanishes takes the entrance's steps of its turn with it; the next goes on from where that turn began.
    """
    base, config, device = job.base, job.config, job.base.unet.device
    if config.precision == "fp16":
        raise UserError("split learning in fp16", expected="no or bf16: gradients that are scaled here would arrive scaled")
    turn = job.options.get("turn", 25)
    options = {"lr": config.lr, "weight_decay": config.weight_decay, "ema": config.ema, "seed": config.seed} | job.options
    peers = replace(job, options=options).peers("split")
    outcome = Outcome(controlnet=job.out, traffic={owner: peer.traffic for owner, peer in peers.items()}, online=True)
    model = nets.new_controlnet(base, generator=generator(config.seed, 1))
    weights = nets.Entrance.of(model).state_dict()
    desk = _Turns(peers, outcome.notes, {f"{part}.{k}": v.clone() for part in ("weights", "average") for k, v in weights.items()}, turn)
    nets.silence_hint(model)
    model.conv_in.requires_grad_(False)
    arrived: list[torch.Tensor] = []
    model.conv_in.register_forward_hook(lambda module, args, output: arrived[-1])

    def loss(model: Any, step: int, part: int) -> torch.Tensor:
        peer, sent = desk.forward(step, step * config.accumulation + part, config.batch)
        sent = {name: value.to(device) for name, value in sent.items()}
        a, last = sent["a"].requires_grad_(), part + 1 == config.accumulation
        a.register_hook(lambda grad: desk.backward(peer, grad, rate=rate(step, config), step=step, last=last))
        arrived[:] = [a]
        z_t, context = sent["z_t"], sent["context"]
        eps_hat = nets.controlled_eps(base, model, z_t, sent["t"], context=context, hint=torch.zeros_like(z_t), seen=context)
        return (eps_hat - sent["eps"]).square().mean()

    try:
        # The owners' halves are in no checkpoint: a run that was killed starts anew.
        averaged = fit(model, base, work_folder(job.out), config, run="split", loss=loss, resume=False, on_step=job.on_step)
        desk.collect()
    finally:
        outcome.owners = {owner: peer.close() for owner, peer in peers.items()}
    nets.Entrance.of(averaged).load_state_dict(_parts(desk.entrance)["average"])
    pictures = sum(int(report.get("pictures", 0)) for report in outcome.owners.values())
    times = max(1, round(config.steps * config.accumulation * config.batch / max(1, pictures)))
    outcome.ledger = tuple(
        Release(what=what, alpha=1.0, sigma=0.0, clip=None, times=times, void=why)
        for what, why in (("picture", "eps travels with z_t"), ("condition", "z_t and the entrance, which the server knows, leave it"))
    )
    nets.save_controlnet(averaged, job.out, job.settings(captioned=True))
    job.declare("split", outcome.ledger)
    return outcome


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        found.setdefault(part, {})[name] = value
    return found


class _Turns:
    """Whose turn it is, and the entrance as it was last handed on."""

    def __init__(self, peers: dict[str, Peer], notes: list[str], entrance: Tensors, turn: int) -> None:
        self._peers, self._notes, self.entrance, self._turn = dict(peers), notes, entrance, turn
        self._holder: str | None = None
        self._batches: dict[str, int] = dict.fromkeys(peers, 0)

    def forward(self, step: int, number: int, size: int) -> tuple[Peer, Tensors]:
        """Batch ``number``, of whoever's turn it is in ``step``."""
        while self._peers:
            owner = list(self._peers)[step // self._turn % len(self._peers)]
            try:
                if owner != self._holder:
                    self.collect()
                    self._peers[owner].call("take", self.entrance)
                    self._holder = owner
                sent = self._peers[owner].call("forward", number=self._batches[owner], size=size)
                self._batches[owner] += 1
                return self._peers[owner], sent
            except Vanished:
                self._lose(owner)
        raise Vanished("every owner is gone", fix="start again when they are back")

    def backward(self, peer: Peer, grad: torch.Tensor, *, rate: float, step: int, last: bool) -> None:
        """Send the gradient down; an owner that is gone by now is missed at its next batch."""
        try:
            peer.call("backward", {"grad": grad.float().cpu()}, rate=rate, step=step, last=last)
        except Vanished:
            self._notes.append("an owner vanished between its forward and its backward")

    def collect(self) -> None:
        """Fetch the entrance from whoever holds it."""
        if self._holder in self._peers:
            try:
                self.entrance = self._peers[self._holder].call("give")
            except Vanished:
                self._lose(self._holder)
        self._holder = None

    def _lose(self, owner: str) -> None:
        self._notes.append(f"{owner} vanished; the entrance goes on from where its turn began, and the others without it")
        self._peers.pop(owner, None)
        self._holder = None
