"""Ours: every picture is sealed once, the owner goes offline, the server trains for as long as it likes.

Options are the seal's: ``seal_step``, ``condition_step``, ``clip``, ``condition_clip``, ``bits``; and ``condition``: "released" (noised,
beside the picture) or "derived" (no condition leaves: the server finds it in posterior samples, ``server.derive``).
Then the server has options, too: ``draws`` of each record, ``derive_steps``, and ``refresh``, how often it draws again given what it
learned. And for all: ``above``, the step above which it trains, and ``vary``, for pairs that can be seen (``server.derive.varied``).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.diffusion.base import Codec, load_codec
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.features.variation import kinds_of
from sfumato.owner.folder import Folder
from sfumato.owner.seal import seal
from sfumato.records import privacy, reader
from sfumato.records.defaults import CONDITION_STEP, SEAL_STEP
from sfumato.records.reader import Records
from sfumato.records.record import SealSettings
from sfumato.schemes._wire import Job, Outcome, Tensors
from sfumato.server import derive
from sfumato.server.train import train

DESCRIPTION = "sealed once, then offline: records of noised latents and noised conditions"


class Owner:
    """What an owner computes: one seal."""

    load = staticmethod(load_codec)

    def __init__(self, folder: Folder, base: Codec, **options: Any) -> None:
        self.folder, self.base, self.options = folder, base, options

    def seal(self, tensors: Tensors, *, out: str, store: str, owner: str) -> Tensors:
        """Seal the folder into ``out``, with keys and ledger in ``store``."""
        seed = self.options.get("insecure_seed")
        noise = None if seed is None else InsecureNoise(seed)
        settings = seal_settings(self.options, self.folder.condition)
        seal(self.folder, Path(out), owner=owner, codec=self.base, settings=settings, noise=noise, store=Path(store))
        return {}


DERIVING = {"draws": 1, "derive_steps": 14, "refresh": 0}
SERVERS = (*DERIVING, "above", "vary")


def seal_settings(options: dict[str, Any], condition: str) -> SealSettings:
    """The seal's settings of a scheme's options."""
    unknown = set(options) - {"seal_step", "condition_step", "clip", "condition_clip", "bits", "condition", "insecure_seed", *SERVERS}
    if unknown:
        raise UserError(f"unknown option {sorted(unknown)[0]!r}", expected="the seal's own", privacy="a clip that is misspelt is no clip")
    derived = options.get("condition", "released") == "derived"
    names = ("seal_step", "clip", "bits") + (() if derived else ("condition_step", "condition_clip"))
    defaults: dict[str, Any] = {"seal_step": SEAL_STEP, "condition_step": None if derived else CONDITION_STEP, "derived": derived}
    return SealSettings(condition=condition, **{**defaults, **{name: options[name] for name in names if name in options}})


def run(job: Job) -> Outcome:
    """Seal each folder, count what lies in the records' folders, train on them."""
    _check_varied(job)
    peers = job.peers("sealed")
    work = job.out.parent / f"{job.out.name}-records"  # a run that was killed finds its records there, and draws none again
    outcome = Outcome(controlnet=job.out, traffic={owner: peer.traffic for owner, peer in peers.items()})
    try:
        for owner, peer in peers.items():
            peer.call("seal", asked=False, out=str(work / owner), store=str(work / ".home" / owner), owner=owner)
            files = [path for path in (work / owner).iterdir() if path.is_file()]
            peer.traffic.bytes_up, peer.traffic.messages_up = sum(path.stat().st_size for path in files), len(files)
    finally:
        outcome.owners = {owner: peer.close() for owner, peer in peers.items()}
    records = reader.load([work / owner for owner in job.folders], codec=job.base)
    outcome.ledger = tuple(privacy.entries(records.manifests[0].privacy))
    pairs = _derived(records, job, work) if records.derived else records
    pairs = derive.varied(pairs, job.base, job.options.get("vary"), seed=job.config.seed)
    config = replace(job.config, above=int(job.options.get("above", job.config.above)))
    train(pairs, job.base, job.out, config, on_step=job.on_step)
    job.declare("sealed", outcome.ledger)
    return outcome


def _check_varied(job: Job) -> None:
    """Refuse, before anything leaves, variations that there are not, and of what nobody could see."""
    vary, settings = job.options.get("vary"), seal_settings(job.options, job.condition)
    if vary:
        kinds_of(vary)
        if settings.seal_step is not None and not settings.derived:
            raise UserError(
                "variations of noised records",
                expected="pictures that can be seen",
                fix="condition=derived, which draws pairs from them; or seal_step=none",
            )


def _derived(records: Records, job: Job, work: Path) -> Records:
    """Pairs to train on: drawn from the records, and as often as ``refresh`` says drawn again, given what was learned from those before."""
    draws, steps, refresh = (int(job.options.get(name, default)) for name, default in DERIVING.items())
    draw = partial(
        derive.from_records, records, job.base, condition=records.condition, steps=steps, draws=draws, precision=job.config.precision
    )
    pairs = draw(seed=job.config.seed)
    for number in range(refresh):
        folder = train(pairs, job.base, work / f"refresh-{number}", job.config)
        net, _ = load_latent_controlnet(folder, device=job.base.unet.device)
        pairs = draw(seed=job.config.seed + number + 1, given=(net, pairs.c_m[:]))
    return pairs
