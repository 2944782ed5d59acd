"""The oldest versions that are tested are those that are promised."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def name_of(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def test_every_floor_is_installed_and_smoked():
    pins = dict(line.split("==") for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if not line.startswith("#"))
    pins = {name_of(name): version.split(".") for name, version in pins.items()}
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(promised) > 20
    for line in promised:
        name, floor = re.match(r"([\w.-]+?)(?:>=|~=|==)([\d.]+)", line).groups()
        parts = floor.rstrip(".").split(".")
        assert pins[name_of(name)][: len(parts)] == parts, line
    assert "constraints-oldest.txt" in (ROOT / ".ci" / "run").read_text()
