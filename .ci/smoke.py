"""A smoke of an installed Sfumato: import everything, then seal, train, generate and attack, tiny, in one process.

Run by .ci/run on the oldest versions that pyproject.toml promises.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pkgutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

OPTIONAL = ("sfumato.schemes.fedavg",)  # needs Flower


def import_everything() -> int:
    """How many modules there are."""
    import sfumato

    names = [module.name for module in pkgutil.walk_packages(sfumato.__path__, "sfumato.")]
    for name in names:
        if name not in OPTIONAL:
            importlib.import_module(name)
    return len(names)


def explain() -> None:
    """Every command's help: typer and click have to agree."""
    from click.testing import CliRunner
    from typer.main import get_command

    from sfumato.cli.main import app

    group = get_command(app)
    for name in group.commands:
        said = CliRunner().invoke(group, [name, "--help"])
        assert said.exit_code == 0, f"sfumato {name} --help: {said.output[-500:]} {said.exception!r}"


def sfumato(*words: object) -> dict:
    """Run a command here, and what it says as JSON."""
    from sfumato.cli import main as cli

    print("sfumato", *words[:1], flush=True)

    said = io.StringIO()
    argv, sys.argv = sys.argv, ["sfumato", *map(str, words), "--json"]
    try:
        with contextlib.redirect_stdout(said):
            cli.main()
    except SystemExit as ended:
        if ended.code not in (0, 1, 2) or (ended.code and "attack" not in words):
            raise SystemExit(f"sfumato {' '.join(map(str, words))} ended with {ended.code}: {said.getvalue()[:2000]}") from ended
    finally:
        sys.argv = argv
    return json.loads(said.getvalue())


def main() -> None:
    """The whole smoke."""
    started = time.monotonic()
    count = import_everything()
    explain()
    print(f"{count} modules imported in {time.monotonic() - started:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as work:
        here = Path(work)
        os.environ["SFUMATO_HOME"] = str(here / "home")
        pictures = here / "pictures"
        pictures.mkdir()
        draws = np.random.default_rng(0)
        for i in range(8):
            blocks = draws.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))).save(pictures / f"{i}.png")
        records, net = here / "records", here / "net"
        assert sfumato("seal", pictures, "-o", records, "--owner", "smoke", "--seal-step", 600, "--condition-step", 200)["records"] == 8
        sfumato("inspect", records)
        sfumato("train", records, "-o", net, "--steps", 2, "--batch", 4, "--held-out", 0)
        sfumato("generate", net, "--condition", pictures / "0.png", "-o", here / "drawn", "--steps", 2)
        assert len(list((here / "drawn").glob("*.png"))) == 1
        adapter = here / "lora.safetensors"
        sfumato("finetune", pictures, "-o", adapter, "--steps", 2, "--batch", 2, "--prior", 2, "--rank", 2)
        assert adapter.stat().st_size
        found = sfumato("attack", records, "--truth", pictures, "--attacks", "algebraic", "--effort", "glance", "-o", here / "attack")
        assert "algebraic" in found["attacks"], found
    print(f"sealed, trained, generated, fine-tuned and attacked in {time.monotonic() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
