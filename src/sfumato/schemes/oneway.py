"""Paper 1's gradient-free mode, faithful in what it computes and in what it gives away: everything.

    h = fp16(f(c + z_t)),  f(x) = |x| (2 sigmoid(x) - 1)

An owner sends ``(h, z_t, t, eps)`` of every picture in every epoch, with fresh ``(t, eps)``, and receives nothing; prompts stay home. The
ControlNet sees ``h`` where it saw ``z_t`` and the condition. We send ``z_t`` where the paper's code sends ``conv_in(z_t)``: the same
information, in fewer bytes.

Because eps travels with ``z_t``, ``z_0 = (z_t - sigma_t eps) / alpha_t``, and because f is invertible, ``c = f^-1(h) - z_t``: the
guarantee is none at every ``t_min``. What a target of the paper's policy solves to is the paper's claim, and void.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sfumato.accounting.accountant import Release
from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise, Noise, SecureNoise, generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts
from sfumato.diffusion.base import Base, Codec, load_codec
from sfumato.owner.folder import Folder
from sfumato.schemes._wire import Job, Outcome, Peer, Tensors, Vanished
from sfumato.server.export import work_folder
from sfumato.server.fit import fit

DESCRIPTION = "paper 1's one-way split: forward records of every epoch, nothing comes back"


class Owner:
    """What an owner computes: encodes once, then a record of every picture for every epoch.

    Args:
        folder: its pictures.
        base: the VAE and the schedule.
        activation: "symsigmoid" (the paper's) or "identity".
        t_min: ``t ~ U[t_min, T)``.
        withhold_eps: keep eps at home; then ``z_t`` is one noised draw for each epoch, which average out.
        insecure_seed: for tests and comparisons.
    """

    load = staticmethod(load_codec)

    def __init__(
        self,
        folder: Folder,
        base: Codec,
        *,
        activation: str = "symsigmoid",
        t_min: int = 0,
        withhold_eps: bool = False,
        insecure_seed: int | None = None,
        **others: Any,
    ) -> None:
        check_t_min(t_min, base)
        loaded = [folder.pixels(example) for example in folder]
        images, conditions = (np.stack(column) for column in zip(*loaded, strict=True))
        self.z_0, self.c = base.encode_pixels(images), base.encode_pixels(conditions)
        self.schedule, self.activation, self.t_min, self.withhold_eps = base.schedule, activation, t_min, withhold_eps
        self.noise: Noise = SecureNoise() if insecure_seed is None else InsecureNoise(insecure_seed)

    def epoch(self, tensors: Tensors) -> Tensors:
        """One record of every picture, in a secret order, with fresh ``t`` and ``eps``."""
        n, last = len(self.z_0), self.schedule.steps
        order = torch.tensor(self.noise.permutation(n))
        u = torch.special.ndtr(self.noise.normal((n,)))
        t = (self.t_min + u * (last - self.t_min)).long().clamp(max=last - 1)
        eps = self.noise.normal(tuple(self.z_0.shape)).float()
        z_t = self.schedule.add_noise(self.z_0[order], t, eps)
        h = nets.one_way_input(self.c[order], z_t, self.activation).half()
        sent = {"h": h, "z_t": z_t, "t": t.to(torch.int32)}
        return sent if self.withhold_eps else {**sent, "eps": eps}


def check_t_min(t_min: int | None, base: Codec) -> None:
    """Refuse what no record can be drawn with, before one is drawn."""
    if type(t_min) is not int or not 0 <= t_min < base.schedule.steps:
        raise UserError(f"t_min {t_min}", expected=f"0 ... {base.schedule.steps - 1}", fix="no step of this schedule may meet the target")


def ledger(base: Base, *, t_min: int, epochs: int, withhold_eps: bool) -> tuple[Release, Release]:
    """What leaves of one picture: every epoch's record, at the worst of its steps."""
    picture = Release(
        what="picture", alpha=float(base.schedule.alpha(t_min)), sigma=float(base.schedule.sigma(t_min)), clip=None, times=epochs,
        void="" if withhold_eps else "eps travels with z_t",
    )  # fmt: skip
    return picture, Release(what="condition", alpha=1.0, sigma=0.0, clip=None, times=epochs, void="f is invertible, and z_t travels with h")


def run(job: Job) -> Outcome:
    """Train from what the owners send, epoch after epoch. An owner that vanishes is left out from then on.

    Options, beside the owner's: ``context``: "zeros" (the paper's) or "empty", what the frozen UNet sees while training.
    """
    options: dict[str, Any] = {"activation": "symsigmoid", "t_min": 0, "withhold_eps": False, "context": "zeros"} | job.options
    base, config, device = job.base, job.config, job.base.unet.device
    if options["withhold_eps"]:
        raise UserError(
            "eps withheld", expected="eps beside z_t", fix="train with it; this variant exists to be attacked, by its owner alone"
        )
    check_t_min(options["t_min"], base)
    peers = job.peers("oneway")
    outcome = Outcome(controlnet=job.out, traffic={owner: peer.traffic for owner, peer in peers.items()}, online=True)
    epochs = _Epochs(peers, outcome.notes, config.batch, config.seed)
    model = nets.silence_hint(nets.new_controlnet(base, generator=generator(config.seed, 1)))
    context = base.empty_context if options["context"] == "empty" else torch.zeros_like(base.empty_context)
    null = NullContexts(base.unet, context.to(device), model)

    def loss(model: Any, step: int, part: int) -> torch.Tensor:
        batch = epochs.batch(step * config.accumulation + part)
        h, z_t, t = batch["h"].float(), batch["z_t"], batch["t"].long()
        h, z_t, t, eps = (x.to(device) for x in (h, z_t, t, batch["eps"]))
        words = context.to(device).expand(len(t), -1, -1)
        silent = torch.zeros_like(words)
        eps_hat = nets.controlled_eps(base, model, z_t, t, context=words, hint=torch.zeros_like(z_t), seen=silent, shown=h)
        return (eps_hat - eps).square().mean()

    try:
        # Records are used as they come and not kept: a run that was killed starts anew.
        averaged = fit(model, base, work_folder(job.out), config, run="oneway", loss=loss, null=null, resume=False, on_step=job.on_step)
    finally:
        outcome.owners = {owner: peer.close() for owner, peer in peers.items()}
    outcome.ledger = ledger(base, t_min=options["t_min"], epochs=max(1, epochs.count), withhold_eps=options["withhold_eps"])
    nets.save_controlnet(averaged, job.out, job.settings(activation=options["activation"]))
    job.declare("oneway", outcome.ledger)
    return outcome


class _Epochs:
    """The batches of an endless chain of epochs, of whoever is still there."""

    def __init__(self, peers: dict[str, Peer], notes: list[str], size: int, seed: int) -> None:
        self._peers, self._notes, self._size, self._seed = dict(peers), notes, size, seed
        self._rest: Tensors = {}
        self.count = 0

    def batch(self, number: int) -> Tensors:
        """Batch ``number``; each is asked for once, in order."""
        with torch.autocast("cpu", enabled=False):  # records come in several types, which autocast would not join
            return self._batch()

    def _batch(self) -> Tensors:
        while len(self._rest.get("t", ())) < self._size:
            parts = [self._rest] if self._rest else []
            sent = self._collect()
            order = torch.randperm(len(sent["t"]), generator=generator(self._seed, self.count, 32452843))
            parts.append({name: value[order] for name, value in sent.items()})
            self._rest = {name: torch.cat([part[name] for part in parts]) for name in sent}
        taken = {name: value[: self._size] for name, value in self._rest.items()}
        self._rest = {name: value[self._size :] for name, value in self._rest.items()}
        return taken

    def _collect(self) -> Tensors:
        found = []
        for owner, peer in list(self._peers.items()):
            try:
                found.append(peer.call("epoch", asked=False))
            except Vanished:
                self._notes.append(f"{owner} vanished after {self.count} epochs; the others went on")
                del self._peers[owner]
        if not found:
            raise Vanished("every owner is gone", fix="start again when they are back: a one-way record is used once and not kept")
        self.count += 1
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}
