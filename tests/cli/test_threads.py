import inspect
import os
import subprocess
import sys

import click
import pytest
import torch
import typer

from sfumato.cli import _threads
from sfumato.cli import main as cli

APP = typer.main.get_command(cli.app)


def commands(group=APP, above=""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} ")
        else:
            yield f"{above}{name}", command


def test_every_command_but_the_version_takes_threads():
    assert {name for name, command in commands() if not any(p.name == "threads" for p in command.params)} == {"version"}


def test_inside_so_many_and_afterwards_as_before(monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    count, seen = torch.get_num_threads(), []

    def command(a: int = 1, as_json: bool = False) -> None:
        seen.append((a, torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ.get("MKL_NUM_THREADS")))

    wrapped = _threads.threaded(command)
    wrapped(a=7, threads=count + 1)
    wrapped(a=8)
    assert seen == [(7, count + 1, str(count + 1), str(count + 1)), (8, count, "5", None)]
    assert torch.get_num_threads() == count and "MKL_NUM_THREADS" not in os.environ
    assert list(inspect.signature(wrapped).parameters) == ["a", "threads", "as_json"]
    with pytest.raises(ZeroDivisionError):
        _threads.threaded(lambda as_json=False: 1 / 0)(threads=1)
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_no_core_is_no_number_of_threads(run):
    code, _, err = run("compare", "--threads", 0)
    assert code == 2 and "threads" in err


def test_threads_sleep_while_they_wait_unless_told_otherwise():
    code = "from sfumato.cli import _threads; import os; _threads.wait_asleep(); print(os.environ['OMP_WAIT_POLICY'])"
    for given, wanted in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | (
            {"OMP_WAIT_POLICY": given} if given else {}
        )
        assert (
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.strip()
            == wanted
        )
