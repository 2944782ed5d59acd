"""What leaked of N pictures, and what an attacker may know beside it, by type.

A scenario grants knowledge; an attack names the types that it needs and those that it may use, and is handed these alone, where the
scenario grants them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch

from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base

K = TypeVar("K")


@dataclass(frozen=True, eq=False)
class ByRecord:
    """Knowledge that has a row for each record, in ``AXIS`` of every array and tuple in it."""

    AXIS: ClassVar[int]

    def rows(self, count: int) -> Self:
        """The same of the first ``count`` records."""
        cut = (slice(None),) * self.AXIS + (slice(count),)
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[:count] if isinstance(v, tuple) else v[cut] for k, v in values.items() if not isinstance(v, str)})


# ---------------------------------------------------------------------------------------- what leaked


@dataclass(frozen=True, eq=False)
class Latents(ByRecord):
    """K releases of each picture's noised latent: ``z`` ``(K, N, 4, h, w)``, ``n`` int64 ``(K, N)``, -1 for clean.

    Row i is the same picture in every release. Where owners shuffle, the attacker linked them by something else that leaked.
    """

    AXIS = 1
    z: torch.Tensor
    n: torch.Tensor


@dataclass(frozen=True, eq=False)
class Conditions(ByRecord):
    """K releases of each condition's noised latent: ``c`` ``(K, N, 4, h, w)``, ``m`` int64 ``(K, N)``, -1 for clean."""

    AXIS = 1
    c: torch.Tensor
    m: torch.Tensor


@dataclass(frozen=True, eq=False)
class Noise(ByRecord):
    """The very noise in ``Latents``: ``eps`` ``(K, N, 4, h, w)``. Published as the training target."""

    AXIS = 1
    eps: torch.Tensor


@dataclass(frozen=True, eq=False)
class Mixed(ByRecord):
    """The one-way scheme's ``h = fp16(f(c + z_t))``, ``(K, N, 4, h, w)``, and the name of f."""

    AXIS = 1
    h: torch.Tensor
    activation: str


@dataclass(frozen=True, eq=False)
class Activations(ByRecord):
    """Conventional split learning's ``a = entrance(z_t, c)``, ``(K, N, C, h, w)``."""

    AXIS = 1
    a: torch.Tensor


@dataclass(frozen=True, eq=False)
class Contexts(ByRecord):
    """Text contexts that travel, ``(N, L, D)``."""

    AXIS = 0
    context: torch.Tensor


@dataclass(frozen=True, eq=False)
class Captions(ByRecord):
    """Prompts that leaked, N of them."""

    AXIS = 0
    prompts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Files(ByRecord):
    """Everything in the clear: pictures uint8 ``(N, H, W, 3)``."""

    AXIS = 0
    images: np.ndarray


@dataclass(frozen=True, eq=False)
class Update:
    """What an owner's training did to weights that the server holds before and after.

    ``gradients``: by parameter name, what ``(before - after) / lr`` tells of them, for a batch of latents of ``shape`` ``(B, 4, h, w)``.
    ``grad_of(z_0, c, t, eps)`` gives the gradients that a guessed batch would have, differentiable: the server knows model and recipe.
    ``t`` ``(B,)`` and ``eps`` ``(B, 4, h, w)`` are granted where the recipe's draws are the server's; else ``eps`` is guessed too.
    """

    gradients: dict[str, torch.Tensor]
    shape: tuple[int, ...]
    grad_of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]
    t: torch.Tensor
    eps: torch.Tensor | None = None


class GradientChannel:
    """A channel that goes back to owners: ``forward(k)`` asks for batch k, ``backward(grad)`` moves the owner's own layers.

    Args:
        forward: batch number to what the owner sends: ``{"a", "z_t", "t", "eps", "rows"}``; ``rows`` say which records these are.
        backward: takes the gradient of ``a``; the owner makes its step.
    """

    def __init__(self, forward: Callable[[int], dict[str, torch.Tensor]], backward: Callable[[torch.Tensor], None]) -> None:
        self.forward, self.backward = forward, backward


LEAKED = (Latents, Conditions, Noise, Mixed, Activations, Contexts, Captions, Files, Update, GradientChannel)

# --------------------------------------------------------------------------------- what else is known


@dataclass(frozen=True, eq=False)
class Public:
    """Pictures of other people that anybody could have: latents ``z_0`` and ``c`` ``(P, 4, h, w)``, uint8 ``images``, who is on them."""

    images: np.ndarray
    z_0: torch.Tensor
    c: torch.Tensor
    identities: list[str]
    captions: list[str]


@dataclass(frozen=True, eq=False)
class Mechanism:
    """What is done to a picture before it leaves: pushes ``z_0``, ``c`` ``(B, 4, h, w)`` and gives what would leak of them."""

    push: Callable[[torch.Tensor, torch.Tensor, torch.Generator], Scenario]


@dataclass(frozen=True, eq=False)
class Entrance:
    """The owner's layers of conventional split learning, as the server hands them on: ``net(z_t, c) -> a``."""

    net: torch.nn.Module


@dataclass(frozen=True, eq=False)
class Architecture:
    """Only what the owner's layers look like: ``new(generator)`` makes some with weights of their own."""

    new: Callable[[torch.Generator], torch.nn.Module]


@dataclass(frozen=True, eq=False)
class Trained:
    """The ControlNet that the server has just trained, for condition latents that are shown as ``condition_scale * c``."""

    controlnet: Any
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Copies:
    """M pictures that somebody holds in place of others: uint8 ``images`` ``(M, H, W, 3)``, latents ``z_0`` and ``c`` ``(M, 4, h, w)``.

    ``encode`` gives latents of any such pictures: base and condition are public.
    """

    images: np.ndarray
    z_0: torch.Tensor
    c: torch.Tensor
    encode: Callable[[np.ndarray], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Latents ``(M, 4, h, w)`` of pictures, some of which may be among the records', and of the conditions extracted from them.

    ``like``: by what was done to them, what gives pictures that are not quite those. Their order says nothing, neither in one nor in the
    other.
    """

    z_0: torch.Tensor
    c: torch.Tensor
    like: Mapping[str, Callable[[], Copies]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class People(ByRecord):
    """Which records show the same person: ``groups`` int64 ``(N,)``."""

    AXIS = 0
    groups: torch.Tensor


class Releases:
    """A second release of the same picture."""


class Undeclared(LookupError):
    """An attack asks for knowledge that it names neither in ``NEEDS`` nor in ``MAY_USE``."""


class Scenario:
    """Everything an attacker has, by type; of a scenario that was cut down with ``only``, nothing else can be asked for."""

    def __init__(self, *known: object) -> None:
        self._declared: frozenset[type] | None = None
        self._known: dict[type, object] = {type(item): item for item in known}
        for item in known:
            if isinstance(item, Base):
                self._known[Base] = item

    def get(self, kind: type[K]) -> K | None:
        """The knowledge of type ``kind``, or ``None`` where there is none.

        Raises:
            Undeclared: ``only`` left no room for that type.
        """
        if self._declared is not None and kind not in self._declared:
            raise Undeclared(f"reads {kind.__name__}, which it does not declare")
        found = self._known.get(kind)
        assert found is None or isinstance(found, kind)
        return found

    def __getitem__(self, kind: type[K]) -> K:
        found = self.get(kind)
        if found is None:
            raise UserError(f"no {kind.__name__} in this scenario", expected="what the attack names in NEEDS")
        return found

    def only(self, kinds: tuple[type, ...]) -> Scenario:
        """What is of these types, and what is by record or may be a record's own picture as copies: an attack may write on them."""
        found = Scenario()
        found._declared = frozenset(kinds)
        found._known = {kind: _copied(item) for kind, item in self._known.items() if kind in found._declared}
        return found

    def lacks(self, needs: tuple[type, ...]) -> tuple[type, ...]:
        """Those of ``needs`` that are not granted."""
        return tuple(kind for kind in needs if kind not in self._known)

    def having(self, *more: object) -> Scenario:
        """The same with more knowledge."""
        return self._like(Scenario(*self._known.values(), *more))

    def kinds(self) -> list[type]:
        """The types that are granted."""
        return list(self._known)

    def leaked(self) -> dict[str, int]:
        """By the name of its type, everything that left an owner, and how many releases of each picture it holds."""
        found = {kind.__name__: item for kind, item in self._known.items() if kind in LEAKED}
        return {name: len(getattr(item, fields(item)[0].name)) if getattr(item, "AXIS", 0) == 1 else 1 for name, item in found.items()}  # type: ignore[arg-type]

    def rows(self, count: int) -> Scenario:
        """The same of the first ``count`` records; what is not by record stays."""
        return self._like(Scenario(*(item.rows(count) if isinstance(item, ByRecord) else item for item in self._known.values())))

    def _like(self, found: Scenario) -> Scenario:
        """``found``, as closed as this one; what an attack adds itself it may ask for."""
        found._declared = None if self._declared is None else self._declared | frozenset(found._known)
        return found

    def state(self) -> dict[str, object]:
        """By name, what changes when somebody writes on a tensor or an array in here."""
        found: dict[str, object] = {}
        for kind, item in self._known.items():
            for name, value in vars(item).items() if isinstance(item, ByRecord | Candidates | Public | Update) else ():
                for key, part in value.items() if isinstance(value, dict) else (("", value),):
                    if isinstance(part, torch.Tensor) and not part.is_inference():
                        found[f"{kind.__name__}.{name}{key}"] = part._version
                    elif isinstance(part, np.ndarray):
                        found[f"{kind.__name__}.{name}{key}"] = zlib.crc32(np.ascontiguousarray(part).data)
                    elif isinstance(part, list):
                        found[f"{kind.__name__}.{name}{key}"] = hash(tuple(part))
        return found


def _copied(item: object) -> object:
    """What is known of every record, or of candidates, once more; anything else itself: what attackers learn once is kept by it."""
    if not isinstance(item, ByRecord | Candidates):
        return item
    values = ((f.name, getattr(item, f.name)) for f in fields(item))
    own = {k: v.clone() if isinstance(v, torch.Tensor) else v.copy() for k, v in values if isinstance(v, torch.Tensor | np.ndarray)}
    return replace(item, **own)  # type: ignore[arg-type]  # fields of whichever it is
