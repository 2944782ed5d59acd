"""``sfumato version``."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato._version import __version__


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the version, and those of the libraries that results depend on."""
    from importlib.metadata import version

    versions = {"sfumato": __version__} | {name: version(name) for name in ("torch", "diffusers", "transformers", "safetensors")}
    if as_json:
        from sfumato.cli._output import emit

        emit(versions)
    else:
        from sfumato.cli._output import show

        show("\n".join(f"{name} {number}" for name, number in versions.items()))
