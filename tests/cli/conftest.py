"""Commands, run in this process."""

import sys

import pytest

from sfumato.cli import main as cli


@pytest.fixture
def run(capsys, monkeypatch, home):
    """Run a command in this process; gives (exit code, standard output, standard error)."""

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["sfumato", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out = capsys.readouterr()
        return stop.value.code or 0, out.out, out.err

    return go
