"""The ``sfumato`` command. Commands are imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys

import click
import typer

from sfumato.cli import attack, attack_weights, calibrate, compare, demo, finetune, generate, inspect, seal, train, version

INTERRUPTED = 130
app = typer.Typer(
    name="sfumato",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train diffusion adapters together without giving the pictures away.\n\n"
    "Owners SEAL folders of pictures into one-way records; a server TRAINS a ControlNet from records alone; anyone GENERATES with it. "
    "Nothing ever goes back to an owner. Start with: sfumato demo",
)
for module in (demo, seal, inspect, attack, train, generate, finetune, compare, calibrate, version):
    app.command(name=module.__name__.rpartition(".")[2])(module.command)
app.add_typer(attack_weights.app, name="attack-weights")


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 a check failed, 2 the input was wrong, 130 interrupted."""
    try:
        code = app(standalone_mode=False) or 0
        if code == INTERRUPTED:  # typer makes an exit code of an interrupt
            raise KeyboardInterrupt
        raise SystemExit(code)
    except click.ClickException as error:
        error.show()
        _fail(error.format_message(), error.exit_code, said=True)
    except ValueError as error:  # ours say what was got, what was expected and how to mend it
        _fail(str(error), 2)
    except OSError as error:  # a full disk, a folder without permission
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; make room or choose another folder, then run the same command again", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; run the same command again to go on", INTERRUPTED)


def _fail(message: str, code: int, *, said: bool = False) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}))
    if not said:
        from sfumato.cli._output import say

        say(f"sfumato: {message}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
