"""What an honest run of each scheme gives an attacker, as knowledge by type. The same code is the
mechanism that attackers know.

Noise is drawn from a seed here, so that a study can be resumed; its law is the owner's. Rows keep
their order: a shuffle hides nothing from who scores, and linking the releases of one picture is
granted (a one-way record's own condition links them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sfumato.attacker.knowledge import (
    Activations,
    Architecture,
    Captions,
    Conditions,
    Contexts,
    Entrance,
    Files,
    GradientChannel,
    Latents,
    Mechanism,
    Mixed,
    Noise,
    Public,
    Scenario,
    Update,
)
from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise, generator
from sfumato.defences import pipeline
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base
from sfumato.diffusion.schedule import CLEAN
from sfumato.records.defaults import CONDITION_STEP, DERIVED_SEAL_STEP, SEAL_STEP
from sfumato.records.record import SealSettings, restore
from sfumato.schemes.sealed import DERIVING

EPOCHS = 5
UPDATE_BATCH = 4


@dataclass(frozen=True, eq=False)
class Private:
    """N private pictures: uint8 ``images`` ``(N, H, W, 3)``, latents ``z_0``, ``c``
    ``(N, 4, h, w)``, captions, who is on them."""

    images: np.ndarray
    z_0: torch.Tensor
    c: torch.Tensor
    captions: list[str]
    identities: list[str]


def known() -> list[str]:
    """The schemes that there are leaks of."""
    return sorted(_LEAKS)


def scenario(scheme: str, private: Private, base: Base, public: Public, *, seed: int, **options: Any) -> Scenario:
    """Everything that an attacker has of ``private`` after an honest run of ``scheme``, with the
    public knowledge beside it.

    Args:
        scheme: one of ``known()``.
        private: what the owners hold.
        base, public: what anybody has.
        seed: of the noise.
        options: of the scheme: ``seal_step``, ``condition_step``, ``clip``, ``bits`` ...;
            ``t_min``, ``activation``, ``epochs``; and for every scheme ``captions="leaked"`` and
            ``condition="leaked"``: the attacker came by them in another way.
    """
    told, shown = (_leaked(options, what) for what in ("captions", "condition"))
    leaked = mechanism(scheme, base, **options)
    leaked = _beside_its_condition(leaked) if shown else leaked
    found = leaked(private.z_0, private.c, generator(seed, 1)).having(base, public)
    if found.get(Latents) is not None:
        found = found.having(Mechanism(leaked))
    extra = {"centralised": _files, "fedavg": _update, "split": _split}.get(scheme)
    found = found if extra is None else found.having(*extra(private, base, found, seed))
    return found.having(Captions(tuple(private.captions))) if told else found


def _leaked(options: dict[str, Any], what: str) -> bool:
    value = options.pop(what, None)
    if value not in (None, "leaked"):
        raise UserError(f"{what} {value!r}", expected="leaked, or nothing")
    return value is not None


Push = Callable[[torch.Tensor, torch.Tensor, torch.Generator], Scenario]


def mechanism(scheme: str, base: Base, **options: Any) -> Push:
    """What is done to a picture before it leaves under ``scheme``.

    Raises:
        UserError: a scheme that nothing is known of, or options that are not its own.
    """
    if scheme not in _LEAKS:
        raise UserError(f"unknown scheme {scheme!r}", expected=f"one of {', '.join(known())}")
    try:
        return _LEAKS[scheme](base, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"{scheme} with {', '.join(options)}: {error}", expected="options of the scheme") from error


def _clear(base: Base) -> Push:
    def push(z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> Scenario:
        clean = torch.full((1, len(z_0)), CLEAN)
        return Scenario(Latents(z_0[None].clone(), clean), Conditions(c[None].clone(), clean.clone()))

    return push


def _beside_its_condition(push: Push) -> Push:
    """The same with the condition in the clear, for an attacker who found it elsewhere: a drawing
    that was published, say."""

    def leaked(z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> Scenario:
        found = push(z_0, c, draws)
        return found if found.get(Latents) is None else found.having(Conditions(c[None].clone(), torch.full((1, len(c)), CLEAN)))

    return leaked


def _nothing(base: Base) -> Push:
    return lambda z_0, c, draws: Scenario()


def _noised(base: Base, z_0: torch.Tensor, epochs: int, t_min: int, draws: torch.Generator) -> tuple[torch.Tensor, ...]:
    t = torch.randint(t_min, base.schedule.steps, (epochs, len(z_0)), generator=draws)
    eps = torch.randn((epochs, *z_0.shape), generator=draws)
    return base.schedule.add_noise(z_0, t, eps), t, eps


def _one_way(base: Base, *, withheld: bool, t_min: int = 0, activation: str = "symsigmoid", epochs: int = EPOCHS) -> Push:
    def push(z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> Scenario:
        z_t, t, eps = _noised(base, z_0, epochs, t_min, draws)
        h = nets.one_way_input(c[None], z_t, activation)
        return Scenario(Latents(z_t, t), Mixed(h, activation), *([] if withheld else [Noise(eps)]))

    return push


def _split_sent(base: Base) -> Push:
    entrance = nets.Entrance.of(_trained_a_while(base))

    @torch.no_grad()
    def push(z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> Scenario:
        z_t, t, eps = _noised(base, z_0, 1, 0, draws)
        return Scenario(Latents(z_t, t), Noise(eps), Activations(entrance(z_t[0], c)[None]))

    return push


def sealed(base: Base, settings: SealSettings) -> Push:
    """What ``sealed`` records of ``settings`` give away: the mechanism that an attacker knows."""

    def push(z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> Scenario:
        noise = InsecureNoise(int(torch.randint(2**62, (1,), generator=draws)))
        fields = {name: restore(value)[None] for name, value in pipeline.seal(z_0, c, settings, base.schedule, noise=noise).items()}
        at = {name: torch.full((1, len(z_0)), CLEAN if step is None else step) for name, step in
              (("z_n", settings.seal_step), ("c_m", settings.condition_step))}  # fmt: skip
        sent = [Latents(fields["z_n"], at["z_n"])]
        return Scenario(*sent, *([] if settings.derived else [Conditions(fields["c_m"], at["c_m"])]))

    return push


def _sealed(base: Base, *, derived: bool, **options: Any) -> Push:
    steps = {"seal_step": DERIVED_SEAL_STEP if derived else SEAL_STEP, "condition_step": None if derived else CONDITION_STEP}
    leaving = {name: value for name, value in options.items() if not (derived and name in DERIVING)}  # the others are the server's own
    return sealed(base, SealSettings(condition="canny", derived=derived, **{**steps, **leaving}))


_LEAKS: dict[str, Callable[..., Push]] = {
    "centralised": _clear,
    "fedavg": _nothing,
    "split": _split_sent,
    "oneway": lambda base, **options: _one_way(base, withheld=False, **options),
    "oneway-withheld": lambda base, **options: _one_way(base, withheld=True, **options),
    "sealed": lambda base, **options: _sealed(base, derived=False, **options),
    "sealed-derived": lambda base, **options: _sealed(base, derived=True, **options),
}


def _trained_a_while(base: Base) -> Any:
    """A ControlNet whose zero convolutions are no longer zero: as after some steps, conditions and
    gradients pass through all of it."""
    model = nets.new_controlnet(base, generator=generator(0, 1))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if not bool(parameter.any()):
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator(0, 2, number)))
    return model


def _files(private: Private, base: Base, found: Scenario, seed: int) -> list[object]:
    return [Files(private.images), Captions(tuple(private.captions))]


def _contexts(private: Private, base: Base) -> Contexts:
    return Contexts(torch.cat([base.embed(private.captions[i : i + 64]) for i in range(0, len(private.captions), 64)]))


def _split(private: Private, base: Base, found: Scenario, seed: int) -> list[object]:
    """The entrance travels through the server, captions' contexts go up, gradients come down."""

    def fresh(draws: torch.Generator) -> torch.nn.Module:
        return nets.Entrance.of(nets.new_controlnet(base, generator=draws))

    return [
        Entrance(nets.Entrance.of(_trained_a_while(base))),
        Architecture(fresh),
        _contexts(private, base),
        _channel(private, base, seed),
    ]


def _channel(private: Private, base: Base, seed: int, *, size: int = 16) -> GradientChannel:
    """A live owner of conventional split learning, whose entrance moves by whatever gradient comes
    down."""
    entrance = nets.Entrance.of(_trained_a_while(base))
    optimiser = torch.optim.AdamW(entrance.parameters(), lr=3e-4)
    out: list[torch.Tensor] = []

    def forward(k: int) -> dict[str, torch.Tensor]:
        draws = generator(seed, 23, k)
        rows = torch.arange(k * size, (k + 1) * size) % len(private.z_0)
        z_t, t, eps = (x[0] for x in _noised(base, private.z_0[rows], 1, 0, draws))
        out[:] = [entrance(z_t, private.c[rows])]
        return {"a": out[0].detach(), "z_t": z_t, "t": t, "eps": eps, "rows": rows}

    def backward(grad: torch.Tensor) -> None:
        out[0].backward(grad)
        torch.nn.utils.clip_grad_norm_(entrance.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return GradientChannel(forward, backward)


def _update(private: Private, base: Base, found: Scenario, seed: int) -> list[object]:
    """One local step on a few pictures, the draws of t and eps known, as the recipe's seed makes
    them: the worst case for an owner."""
    draws = generator(seed, 29)
    t = torch.randint(base.schedule.steps, (UPDATE_BATCH,), generator=draws)
    eps = torch.randn((UPDATE_BATCH, *private.z_0.shape[1:]), generator=draws)
    return [update_of(base, private.z_0[:UPDATE_BATCH], private.c[:UPDATE_BATCH], t, eps)]


def update_of(base: Base, z_0: torch.Tensor, c: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> Update:
    """The update of one step on a batch ``z_0``, ``c`` ``(B, 4, h, w)`` with those draws of ``t``
    ``(B,)`` and ``eps``."""
    model = _trained_a_while(base)
    names, parameters = zip(*[(name, p) for name, p in model.named_parameters() if p.requires_grad], strict=True)
    context = base.empty_context.expand(len(t), -1, -1)

    def grad_of(z_0: torch.Tensor, c: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> dict[str, torch.Tensor]:
        z_t = base.schedule.add_noise(z_0, t, eps)
        eps_hat = nets.controlled_eps(base, model, z_t, t, context=context, hint=c, seen=torch.zeros_like(context))
        loss = (eps_hat - eps).square().mean()
        got = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        return {name: g for name, g in zip(names, got, strict=True) if g is not None}

    true = {name: g.detach() for name, g in grad_of(z_0, c, t, eps).items()}
    return Update(true, tuple(z_0.shape), grad_of, t, eps)
