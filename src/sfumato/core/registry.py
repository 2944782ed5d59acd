"""Methods found by file name: one method, one file, no list to edit. Outsiders add theirs as entry points."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from importlib.metadata import entry_points
from types import ModuleType


def names(package: str) -> list[str]:
    """The methods known in ``package`` (``"conditions"``, ``"defences"`` ...), sorted.

    A method is a module of the package whose name starts with no underscore and is not ``base``,
    or an entry point in the group ``sfumato.<package>``.
    """
    found = importlib.import_module(f"sfumato.{package}")
    own = {m.name for m in pkgutil.iter_modules(found.__path__) if not m.name.startswith("_") and m.name != "base"}
    return sorted(own | {e.name for e in entry_points(group=f"sfumato.{package}")})


@lru_cache
def get(package: str, name: str) -> ModuleType:
    """Load method ``name`` of ``package``; an unknown name is answered with the known ones."""
    if name not in names(package):
        raise ValueError(f"unknown name {name!r} in {package}; known: {', '.join(names(package))}")
    for entry in entry_points(group=f"sfumato.{package}", name=name):
        module: ModuleType = entry.load()
        return module
    return importlib.import_module(f"sfumato.{package}.{name}")
