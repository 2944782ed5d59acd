"""What an attacker trains once and uses again, on every scheme and in every variant that it serves."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

V = TypeVar("V")


class Once(Generic[V]):
    """Things made for an owner (public pictures, a mechanism), by what decides them; kept for as long as the owner is there."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[object, dict[Hashable, V]] = WeakKeyDictionary()

    def __call__(self, owner: object, key: Hashable, make: Callable[[], V]) -> V:
        """What was made for ``owner`` under ``key``, or what ``make`` makes now."""
        known = self._made.setdefault(owner, {})
        if key not in known:
            known[key] = make()
        return known[key]
