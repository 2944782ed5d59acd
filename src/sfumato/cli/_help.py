"""The command as it is run, with the help of its arguments: some versions of click forget what typer says of them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import Any

import click
import typer
from typer.models import ArgumentInfo


def built(app: typer.Typer) -> click.Command:
    """The click command of ``app``, each argument of it and its commands with its help."""
    command = typer.main.get_command(app)
    for _, each in walk(command):
        bare = [one for one in each.params if isinstance(one, click.Argument) and not getattr(one, "help", None)]
        said = _said(each.callback) if bare else {}  # which takes time
        for parameter in bare:
            if parameter.name in said:
                parameter.help = said[parameter.name]
    return command


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, each with the words it is called by."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def _said(callback: Any) -> dict[str, str]:
    """The help of a command's arguments, by name, as its function declares them."""
    if callback is None:
        return {}
    hints = typing.get_type_hints(inspect.unwrap(callback), include_extras=True)
    found = {name: [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, ArgumentInfo)] for name, hint in hints.items()}
    return {name: parts[0].help for name, parts in found.items() if parts and parts[0].help}
