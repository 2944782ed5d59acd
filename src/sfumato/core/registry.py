"""Methods found by file name: one method, one file, no list to edit. Outsiders add theirs as entry points.

A package takes methods when its ``__init__`` has ``METHOD``, the names that every module of it must have. Its group of entry
points is ``sfumato.<package>``. A plug-in that cannot be used names itself and stops nobody else.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from sfumato.core.errors import UserError

PREFIX = "sfumato."


class PluginWarning(UserWarning):
    """A plug-in that is not used, and why."""


class PluginError(UserError):
    """A plug-in that was asked for and cannot be used."""


@lru_cache
def packages() -> dict[str, tuple[str, ...]]:
    """Every package that takes methods (``"conditions"``, ``"attacker.records"`` ...), and what each method must have."""
    found: dict[str, tuple[str, ...]] = {}
    top = importlib.import_module("sfumato")
    for module in pkgutil.walk_packages(top.__path__, PREFIX):
        if module.ispkg and (wanted := getattr(importlib.import_module(module.name), "METHOD", None)):
            found[module.name.removeprefix(PREFIX)] = wanted
    return found


def names(package: str) -> list[str]:
    """The methods known in ``package``, sorted; plug-ins are not loaded, so one of them may turn out broken.

    A method is a module of the package whose name starts with no underscore and is not ``base``,
    or an entry point in the group ``sfumato.<package>``.
    """
    return sorted(_own(package) | _plugins(package).keys())


def working(package: str) -> list[str]:
    """The methods of ``package`` that can be used, sorted: of plug-ins that cannot, it is warned (``PluginWarning``)."""
    found = _own(package)
    for name in _plugins(package):
        try:
            get(package, name)
        except PluginError as error:
            warnings.warn(f"left out: {error}", PluginWarning, stacklevel=2)
        else:
            found |= {name}
    return sorted(found)


@lru_cache
def get(package: str, name: str) -> ModuleType:
    """Load method ``name`` of ``package``; an unknown name is answered with the known ones.

    Raises:
        UserError: no such method.
        PluginError: it is a plug-in, and cannot be loaded or is no such method.
    """
    if name in _own(package):
        return importlib.import_module(f"{PREFIX}{package}.{name}")
    plugins = _plugins(package)
    if name in plugins:
        return _load(plugins[name], packages()[package])
    raise UserError(f"unknown name {name!r} in {package}; known: {', '.join(names(package))}")


def _own(package: str) -> set[str]:
    found = importlib.import_module(f"{PREFIX}{package}")
    return {m.name for m in pkgutil.iter_modules(found.__path__) if not m.name.startswith("_") and m.name != "base"}


@lru_cache
def _plugins(package: str) -> dict[str, EntryPoint]:
    """Plug-ins by name, none of which takes a name that is taken."""
    _warn_of_unknown_groups()
    own, found = _own(package), dict[str, EntryPoint]()
    for entry in entry_points(group=PREFIX + package):
        if entry.name in own or entry.name in found:
            other = named(found[entry.name]) if entry.name in found else "one of sfumato's own"
            warnings.warn(f"left out: {named(entry)}: {other} is called so, too", PluginWarning, stacklevel=3)
        else:
            found[entry.name] = entry
    return found


def _load(entry: EntryPoint, wanted: tuple[str, ...]) -> ModuleType:
    try:
        module: ModuleType = entry.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        why = f"{type(error).__name__}: {error}"
        raise PluginError(f"{named(entry)}: could not be loaded ({why})", fix=_fix(entry)) from error
    if missing := [name for name in wanted if not hasattr(module, name)]:
        raise PluginError(f"{named(entry)}: it has no {', no '.join(missing)}", expected=", ".join(wanted), fix=_fix(entry))
    return module


@lru_cache
def _warn_of_unknown_groups() -> None:
    known = {PREFIX + package for package in packages()}
    everything = entry_points()
    for group in sorted(group for group in everything.groups if group.startswith(PREFIX) and group not in known):
        for entry in everything.select(group=group):
            said = f"left out: {named(entry)}: there is no such group; there are {', '.join(sorted(known))}"
            warnings.warn(said, PluginWarning, stacklevel=4)


def named(entry: EntryPoint) -> str:
    """A plug-in as its owner knows it: distribution, group, name and what it points to."""
    return f"plug-in {_distribution(entry)}, {entry.group}: {entry.name} = {entry.value}"


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "of no distribution"


def _fix(entry: EntryPoint) -> str:
    return f"mend it, or uninstall {entry.dist.name if entry.dist else 'it'}"


def forget() -> None:
    """Look again at what is installed."""
    for cached in (packages, get, _plugins, _warn_of_unknown_groups):
        cached.cache_clear()
