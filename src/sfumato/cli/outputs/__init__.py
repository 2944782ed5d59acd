"""What ``--json`` prints, as types: a file for each command, by its name.

``OUTPUTS`` in a file are the objects that its command can print. ``recipes/docs_schemas.py`` writes
their JSON schemas to ``docs/reference/schemas``. A field may be added at any time. Whoever takes one
away, renames it or gives it another meaning raises ``schema`` of that object.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules


def known() -> Iterator[tuple[str, tuple[type, ...]]]:
    """Every command that has types, by its name with dashes, and what it can print."""
    for found in iter_modules(__path__):
        if not found.name.startswith("_"):
            yield found.name.replace("_", "-"), import_module(f"{__name__}.{found.name}").OUTPUTS
