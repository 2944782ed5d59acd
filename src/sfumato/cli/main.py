"""The ``sfumato`` command. Commands are imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys

import typer

from sfumato.cli import demo, generate, inspect, seal, train, version

app = typer.Typer(
    name="sfumato",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train diffusion adapters together without giving the pictures away.\n\n"
    "Owners SEAL folders of pictures into one-way records; a server TRAINS a ControlNet from records alone; anyone GENERATES with it. "
    "Nothing ever goes back to an owner. Start with: sfumato demo",
)
for module in (demo, seal, inspect, train, generate, version):
    app.command(name=module.__name__.rpartition(".")[2])(module.command)


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 a check failed, 2 the input was wrong, 130 interrupted."""
    from sfumato.core.errors import UserError

    try:
        app(standalone_mode=True)
    except UserError as error:
        _fail(str(error), 2)
    except ValueError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", 130)


def _fail(message: str, code: int) -> None:
    from sfumato.cli._output import say

    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}))
    say(f"sfumato: {message}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
