"""The ``sfumato`` command. Commands are imported when they run, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from typing import Annotated, Any

import click
import typer

from sfumato._version import __version__
from sfumato.cli import (
    _help,
    _threads,
    attack,
    attack_weights,
    audit,
    calibrate,
    compare,
    demo,
    evolve,
    finetune,
    generate,
    inspect,
    matrix,
    scrub,
    seal,
    train,
    version,
    vote,
    withdraw,
)

WRONG, FAULT, INTERRUPTED = 2, 3, 130
app = typer.Typer(
    name="sfumato",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Train diffusion adapters together without giving the pictures away.\n\n"
    "Owners SEAL folders of pictures into one-way records; a server TRAINS a ControlNet from records alone; anyone GENERATES with it. "
    "Nothing ever goes back to an owner. Start with: sfumato demo",
)


def _version(asked: bool) -> None:
    if asked:
        from sfumato.cli._output import show

        show(f"sfumato {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    pass


GROUPS = {  # as help shows them, in this order
    None: (demo, version),
    "Owner": (seal, vote, withdraw, finetune),
    "Server": (train, evolve, generate),
    "Records": (inspect, attack),
    "Before you share": (audit, scrub, attack_weights),
    "Research": (compare, matrix, calibrate),
}
for group, modules in GROUPS.items():
    for module in modules:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        if module in (attack_weights, evolve):  # commands of their own
            for info in module.app.registered_commands:
                assert info.callback is not None
                info.callback = _threads.threaded(info.callback)
            app.add_typer(module.app, name=name, rich_help_panel=group)
        else:
            command = module.command if module is version else _threads.threaded(module.command)
            app.command(name=name, rich_help_panel=group)(command)


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 a check failed, 2 the input was wrong or something could not be tested, 3 a fault of sfumato
    itself (kept in ``faults/`` of the home folder; shown with SFUMATO_DEBUG=1), 130 interrupted."""
    _threads.wait_asleep()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _told_as_words(warnings.showwarning)
            code = _help.built(app)(standalone_mode=False) or 0
        if code == INTERRUPTED:  # typer makes an exit code of an interrupt
            raise KeyboardInterrupt
        raise SystemExit(code)
    except click.ClickException as error:
        _fail(_wrong_call(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; run the same command again to go on", INTERRUPTED)
    except Exception as error:
        from sfumato.core.faults import debugging

        message, code = _told(error)
        if code == FAULT and debugging():
            message += "\n" + "".join(traceback.format_exception(error))
        _fail(message, code)


def _told_as_words(usual: Any) -> Any:
    """Show a warning of a plug-in as everything else is said; others as before."""

    def show(message: Warning | str, category: type[Warning], *more: Any) -> None:
        from sfumato.core.registry import PluginWarning

        if issubclass(category, PluginWarning):
            from sfumato.cli._output import say

            say(f"warning: {message}")
        else:
            usual(message, category, *more)

    return show


def _wrong_call(error: click.ClickException) -> str:
    """Click's message, and where help is; of a call without arguments the help itself."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return "no command"
    context = getattr(error, "ctx", None)
    return error.format_message() + (f"\n{context.get_usage()}\nTry: {context.command_path} --help" if context else "")


def _told(error: Exception) -> tuple[str, int]:
    """What to say of an error that no command expected, and the exit code."""
    from sfumato.core.errors import UserError
    from sfumato.core.faults import keep

    if isinstance(error, UserError):  # which says what was got, what was expected and how to mend it
        return str(error), WRONG
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return f"not enough memory ({str(error).splitlines()[0][:200] if str(error) else 'for what was asked'}); try less at once", WRONG
    if isinstance(error, OSError):  # a full disk, a folder without permission
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; make room or choose another folder, then run the same command again", WRONG
    return keep(error), FAULT


def _fail(message: str, code: int) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"schema": 1, "error": message, "exit_code": code}))  # outputs.error, which is quick
    from sfumato.cli._output import say

    say(f"sfumato: {message}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
