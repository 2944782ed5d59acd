"""Train a network autoencoder on public adapters: the paper's Algorithm 2, K adapters at once.

    theta_r   the adapter of a public person after r steps, any of those that were kept
    mu, log_var = encoder(theta_r, r)                  z = mu + exp(log_var / 2) xi
    loss = |eps_hat(z_t, t; z, UNet(theta_r)) - eps|^2  +  kl_weight KL

where ``z_t`` is a picture of that person, noised. Only the encoder learns. Draws are functions of (seed, step), so that a run that was
killed ends in the same weights as one that was not.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sfumato.adapters.dreambooth import FinetuneConfig, Step, losses
from sfumato.adapters.lora import check_fits
from sfumato.adapters.train_many import Stack, stacked
from sfumato.attacker.attempt import Tell
from sfumato.attacker.weights._autoencoder import Autoencoder, AutoencoderConfig, load
from sfumato.attacker.weights._shadows import Shadows
from sfumato.core import checkpoint as checkpoints
from sfumato.core import finished, training
from sfumato.core.errors import UserError
from sfumato.core.randomness import evenly, generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t

FITTED = 512  # adapters by which scales are set
HELD_ROWS = 8  # pictures of each person set aside in a measurement
WARM_UP = 0.05
_DRAWS, _FIT, _HELD = 3, 5, 7  # kinds of draws
Picks = list[tuple[int, int]]  # (person, place among that person's steps)


def train(
    base: Base, shadows: Shadows, config: AutoencoderConfig, *, checkpoint: Path | None = None, out: Path | None = None,
    overwrite: bool = False, tell: Tell = lambda done, total: None,
) -> Autoencoder:  # fmt: skip
    """Train one, unless ``out`` holds it already.

    Args:
        base: the one that the adapters belong to; carries some of them while this runs, and nothing afterwards.
        shadows: public people.
        config: how.
        checkpoint: a file to go on from. Removed at the end.
        out: where it is kept.
        overwrite: replace one of another run that is there, and pass over such a checkpoint.
        tell: progress over the budget.

    Returns:
        What did best on the people set aside, or the last where there are none. ``facts["curve"]`` has rows (steps done, training loss,
        loss of the last adapters of the people set aside, the same under the embedding of another of them): what the embedding knows of
        the *person* is the difference of the last two. ``facts["loss without"]`` is that loss under the empty prompt.

    Raises:
        UserError: adapters of another base, a checkpoint or a file of another run, or a loss that is not finite.
    """
    check_fits(shadows.adapter(), base)
    run = _run_of(base, shadows, config)
    if out is not None and out.exists():
        if _made_by(out, base) == run:
            return load(out, base)
        finished.keep(out, overwrite=overwrite, what="of another run")
    shadows = shadows.final() if config.steps_used == "final" else shadows
    learned, held = shadows.parted(config.aside)
    model = Autoencoder(base, shadows.layout, config, steps=shadows.steps)
    _fit(model, learned, config)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay)
    so_far = _SoFar()
    first = _resume(checkpoint, run, model, optimiser, so_far, overwrite=overwrite) if checkpoint else 0
    with _decoding(base, shadows, config) as decoder:

        def after(done: int, loss: float) -> bool:
            so_far.saw(loss)
            if done % config.validate_every == 0 or done == config.budget:
                so_far.measured(done, _measure(model, decoder, held), model)
            return so_far.over(config)

        def save(done: int) -> None:
            if checkpoint:
                _save(checkpoint, run, done, model, optimiser, so_far)

        training.fit(
            optimiser, lambda step, part: _loss(model, decoder, learned, step), clip=config.clip,
            first=first, steps=first if so_far.over(config) else config.budget,
            rate=lambda step: config.lr * training.warmed(step, config.budget, warmup=WARM_UP * config.budget),
            after=after, save=save, every=config.checkpoint_every, tell=lambda progress: tell(progress.step, config.budget),
        )  # fmt: skip
        without = decoder.held_out(held, [None])[0] if held.people else None
    if so_far.state is not None:
        model.load_state_dict(so_far.state)
    model.facts = {
        "run": run,
        "people": len(learned.people), "people set aside": len(held.people), "adapters": sum(len(p.rows) for p in learned.people),
        "pictures": sum(len(p.latents) for p in learned.people), "loss without": without, "curve": so_far.curve,
    }  # fmt: skip
    model = model.eval().requires_grad_(False)
    if out is not None:
        model.save(out)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return model


@dataclass
class _SoFar:
    """How a run goes: the recent training loss, the curve, the best measurement, those since, and the weights then."""

    recent: float = math.nan
    best: float = math.inf
    since: int = 0
    curve: list[list[float]] = field(default_factory=list)
    state: dict[str, torch.Tensor] | None = None

    def saw(self, loss: float) -> None:
        self.recent = loss if math.isnan(self.recent) else 0.95 * self.recent + 0.05 * loss

    def measured(self, done: int, held: list[float], model: Autoencoder) -> None:
        self.curve.append([float(done), self.recent, *held])
        if not held:
            return
        self.since += 1
        if held[0] < self.best:
            self.best, self.since, self.state = held[0], 0, copy.deepcopy(model.state_dict())

    def over(self, config: AutoencoderConfig) -> bool:
        return 0 < config.patience <= self.since


# ---------------------------------------------------------------------------------------- one step


class _Decoder:
    """The UNets of ``together`` adapters at once, of which nothing learns."""

    def __init__(self, base: Base, stack: Stack, shadows: Shadows, config: AutoencoderConfig) -> None:
        self.base, self.stack, self.layout, self.config = base, stack, shadows.layout, config

    def losses(self, shadows: Shadows, picks: Picks, contexts: torch.Tensor, *, rows: int, draws: torch.Generator) -> torch.Tensor:
        """Of each of K adapters under its own of ``contexts`` ``(K, L, D)``, ``(K,)``, on ``rows`` pictures of its person."""
        leaves = self.layout.cut(torch.stack([shadows.people[who].rows[at] for who, at in picks]))
        for name, pair in self.stack.leaves.items():
            for leaf, values in zip(pair, leaves[name], strict=True):
                leaf.copy_(values)
        latents = [shadows.people[who].latents for who, _ in picks]
        z_0 = torch.cat([z[evenly(len(z), rows, draws)] for z in latents])
        t = draw_t(torch.full((len(z_0),), self.config.t_from - 1), self.base.schedule.steps, generator=draws)
        eps = torch.randn(z_0.shape, generator=draws)
        device = self.base.unet.device
        drawn = Step(z_0=z_0.to(device), eps=eps.to(device), t=t.to(device), text=torch.zeros(len(t), dtype=torch.long, device=device))
        return losses(self.base, drawn, contexts.unsqueeze(1), FinetuneConfig(batch=rows, precision=self.config.precision))

    @torch.no_grad()
    def held_out(self, held: Shadows, contexts: list[torch.Tensor | None]) -> list[float]:
        """Mean loss over the people set aside, under each of ``contexts`` ``(M, L, D)`` (None: the empty prompt). Always the same draws."""
        picks, k, found = _held_picks(held), self.config.together, []
        for given in contexts:
            parts = []
            for start in range(0, len(picks), k):
                some = [(start + i) % len(picks) for i in range(k)]
                mine = self.base.empty_context.to(self.base.unet.device).expand(k, -1, -1) if given is None else given[some]
                draws = generator(self.config.seed, _HELD, start)
                parts.append(self.losses(held, [picks[i] for i in some], mine, rows=HELD_ROWS, draws=draws)[: len(picks) - start])
            found.append(float(torch.cat(parts).mean()))
        return found


@contextmanager
def _decoding(base: Base, shadows: Shadows, config: AutoencoderConfig) -> Iterator[_Decoder]:
    """Inside, the base's UNet computes with the decoder's adapters, group by group of a batch."""
    stack = Stack([shadows.adapter()] * config.together, device=base.unet.device)
    for leaf in (leaf for pair in stack.leaves.values() for leaf in pair):
        leaf.requires_grad_(False)
    settings = shadows.layout.settings
    with nullcontext() if settings is None else stacked(base, stack, settings):
        yield _Decoder(base, stack, shadows, config)


def _loss(model: Autoencoder, decoder: _Decoder, learned: Shadows, step: int) -> torch.Tensor:
    config, draws = model.config, generator(model.config.seed, _DRAWS, step)
    people = evenly(len(learned.people), config.together, draws).tolist()
    picks = [(who, int(torch.randint(len(learned.people[who].rows), (), generator=draws))) for who in people]
    mu, log_var = _encode(model, learned, picks)
    xi = torch.randn(mu.shape, generator=draws).to(mu)
    z = mu + (log_var / 2).exp() * xi
    reconstruction = decoder.losses(learned, picks, z, rows=config.rows, draws=draws).mean()
    kl = 0.5 * ((mu - model.anchor).square() + log_var.exp() - 1 - log_var).mean()
    return reconstruction + config.kl_weight * kl


def _encode(model: Autoencoder, shadows: Shadows, picks: Picks) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.stack([shadows.people[who].rows[at] for who, at in picks]).to(model.anchor.device)
    mu, log_var = model(model.layout.factors(rows), torch.stack([shadows.people[who].steps[at] for who, at in picks]))
    return mu, log_var


@torch.no_grad()
def _measure(model: Autoencoder, decoder: _Decoder, held: Shadows) -> list[float]:
    """The loss of the last adapters of the people set aside under their own embeddings, and under one another's."""
    if not held.people:
        return []
    picks = _held_picks(held)
    own = torch.cat([_encode(model, held, picks[i : i + 16])[0] for i in range(0, len(picks), 16)])
    return decoder.held_out(held, [own, own.roll(1, dims=0)])


def _held_picks(held: Shadows) -> Picks:
    """Everyone's last adapter: the same, whatever was learned from."""
    return [(who, len(person.rows) - 1) for who, person in enumerate(held.people)]


def _fit(model: Autoencoder, learned: Shadows, config: AutoencoderConfig) -> None:
    """Scales, by adapters of everyone in turn at steps drawn evenly."""
    draws, people = generator(config.seed, _FIT), learned.people
    whole = [(who, at) for who, person in enumerate(people) for at in range(len(person.rows))]
    picks = [whole[i] for i in torch.randperm(len(whole), generator=draws)[:FITTED].tolist()]
    rows, steps = (torch.stack([getattr(people[who], part)[at] for who, at in picks]) for part in ("rows", "steps"))
    model.fit(rows, steps)


# ---------------------------------------------------------------------------------------- going on


def _run_of(base: Base, shadows: Shadows, config: AutoencoderConfig) -> str:
    said = [base.unet_fingerprint, shadows.digest(), config.identity()]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _save(path: Path, run: str, done: int, model: Autoencoder, optimiser: torch.optim.Optimizer, so_far: _SoFar) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (so_far.state or {}).items()}
    tensors["numbers"] = torch.tensor([so_far.recent, so_far.best, so_far.since], dtype=torch.float64)
    tensors["curve"] = torch.tensor(so_far.curve, dtype=torch.float64)
    checkpoints.save(path, run, done, tensors, optimiser)


def _made_by(out: Path, base: Base) -> str | None:
    """The run that wrote ``out``, or None where it is anything else."""
    try:
        return load(out, base).facts.get("run")
    except UserError:
        return None


def _resume(
    path: Path, run: str, model: Autoencoder, optimiser: torch.optim.Optimizer, so_far: _SoFar, *, overwrite: bool
) -> int:  # fmt: skip
    """Load a checkpoint into what is given; the step to go on from."""
    tensors = checkpoints.load(path, run, overwrite=overwrite)
    if tensors is None:
        return 0
    model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")})
    best = {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}
    checkpoints.remember(optimiser, tensors)
    so_far.recent, so_far.best, since = tensors["numbers"].tolist()
    so_far.since, so_far.curve, so_far.state = int(since), tensors["curve"].tolist(), best or None
    return int(tensors["step"])
