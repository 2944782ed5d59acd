"""Commands, run in this process; what they print as JSON is held against its schema."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from sfumato.cli import main as cli

SCHEMAS = Path(__file__).parents[2] / "docs/reference/schemas"


def check_schema(command, text):
    """Hold the one object of ``--json`` against the schema of its command, where that has one, or against that of errors."""
    found = json.loads(text)
    path = SCHEMAS / ("error.json" if "error" in found else f"{command}.json")
    assert found["schema"] >= 1
    if path.exists():
        jsonschema.validate(found, json.loads(path.read_text()))


@pytest.fixture
def run(capsys, monkeypatch, home):
    """Run a command in this process; gives (exit code, standard output, standard error)."""

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["sfumato", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out = capsys.readouterr()
        if "--json" in arguments and out.out:
            check_schema(arguments[0], out.out)
        return stop.value.code or 0, out.out, out.err

    return go
