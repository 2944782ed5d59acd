"""How many files a new method takes: a throw-away one of each kind is added to a copy of the tree, and has to work there.

    python recipes/files_to_touch.py            # a minute; writes docs/files_to_touch.json
    python recipes/files_to_touch.py --count    # only counts

A kind counts the files that are written or changed for it by hand, its test among them, and those
that ``docs_schemas.py`` and ``docs_figures.py`` then write anew. In the copy run the contract tests
and those of the registry and of the command line's help. This tree gets the figures alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sfumato._version import __version__
from sfumato.core.artifact import write_json

ROOT = Path(__file__).parents[1]
COMMAND = "python recipes/files_to_touch.py"
NAME = "throw_away"
HEAD = '"""A throw-away."""\n\nfrom __future__ import annotations\n\n'
ATTACK = (
    HEAD
    + '''from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.{room}.base import Guess, Target
from {known} import {need}

DESCRIPTION = "says nothing of anybody"
TARGETS: tuple[Target, ...] = ("{target}",)
NEEDS: tuple[type, ...] = ({need},)
{count}

def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Answer nothing."""
    return Guess({answer})
'''
)

# By kind what is written, and what is put in front of a line of a file that is there.
WRITTEN: dict[str, dict[str, str]] = {
    "condition": {
        f"src/sfumato/conditions/{NAME}.py": HEAD + '''import numpy as np

DESCRIPTION = "parts brighter than the picture's mean"


def extract(image: np.ndarray, *, margin: int = 16) -> np.ndarray:
    """Bright parts of uint8 ``(H, W, 3)``, as uint8 ``(H, W, 3)``."""
    grey = image.mean(axis=-1, keepdims=True)
    return np.repeat(np.where(grey > grey.mean() + margin, np.uint8(255), np.uint8(0)), 3, axis=-1)
''',
    },
    "attack on records": {
        f"src/sfumato/attacker/records/{NAME}.py": ATTACK.format(
            room="records", target="picture", known="sfumato.attacker.knowledge", need="Latents",
            count='COUNT: dict[Effort, int] = {"quick": 10, "full": 10}\n', answer="",
        ),
    },
    "attack on weights": {
        f"src/sfumato/attacker/weights/{NAME}.py": ATTACK.format(
            room="weights", target="count", known="sfumato.attacker.weights.base", need="File",
            count="", answer="facts={}",
        ),
    },
    "scheme": {
        f"src/sfumato/schemes/{NAME}.py": HEAD + '''from sfumato.schemes._wire import Job, Outcome

DESCRIPTION = "trains nothing at all"


def run(job: Job) -> Outcome:
    """Declare that nothing leaves."""
    job.declare("throw_away", ())
    return Outcome(controlnet=job.out)
''',
    },
    "defence": {
        f"src/sfumato/defences/{NAME}.py": HEAD + '''import torch


def apply(latents: torch.Tensor) -> torch.Tensor:
    """What comes in, unchanged."""
    return latents
''',
    },
    "judge metric": {
        f"src/sfumato/judge/metrics/{NAME}.py": HEAD + '''import numpy as np


def brightness(images: np.ndarray) -> float:
    """Mean grey level of uint8 ``(N, H, W, 3)``."""
    return float(images.mean())
''',
    },
    "command": {
        f"src/sfumato/cli/{NAME}.py": HEAD + '''from typing import Annotated

import typer


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Do nothing."""
    from sfumato.cli import _output
    from sfumato.cli.outputs.throw_away import ThrowAway

    if as_json:
        _output.emit(ThrowAway(done=True))
''',
        f"src/sfumato/cli/outputs/{NAME}.py": HEAD + '''from dataclasses import dataclass

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class ThrowAway(Output):
    """Nothing.

    Attributes:
        done: that it is done.
    """

    done: bool


OUTPUTS = (ThrowAway,)
''',
    },
}  # fmt: skip
CHANGED: dict[str, list[tuple[str, str, str]]] = {
    "scheme": [("src/sfumato/studies/training/arms.py", '    "sealed": ("sealed", {}),\n', f'    "{NAME}": ("{NAME}", {{}}),\n')],
    "defence": [("src/sfumato/defences/pipeline.py", "        sealed[name] = noised.half()", f"        noised = {NAME}.apply(noised)\n")],
    "judge metric": [
        (
            "src/sfumato/studies/training/compare.py",
            "        row |= self.judge(arm.pictures)",
            f'        row["bright"] = {NAME}.brightness(arm.pictures)\n',
        )
    ],
    "command": [("src/sfumato/cli/main.py", "    version,\n    vote,", f"    {NAME},\n")],
}
MORE: dict[str, list[tuple[str, str, str]]] = {  # of the same files
    "defence": [("src/sfumato/defences/pipeline.py", "from sfumato.diffusion.schedule", f"from sfumato.defences import {NAME}\n")],
    "judge metric": [
        ("src/sfumato/studies/training/compare.py", "from sfumato.judge.report import", f"from sfumato.judge.metrics import {NAME}\n")
    ],
    "command": [("src/sfumato/cli/main.py", "compare, matrix, calibrate", f"{NAME}, ")],
}


def test_of(path: str) -> tuple[str, str]:
    """Where the test of a module lies, and a test that imports it."""
    place = Path(path).relative_to("src/sfumato")
    module = ".".join(("sfumato", *place.with_suffix("").parts))
    text = '"""A throw-away."""\n\nfrom importlib import import_module\n\n\n'
    text += f'def test_it_is_there():\n    assert import_module("{module}").__doc__\n'
    return str(Path("tests") / place.parent / f"test_{place.name}"), text


def added(kind: str, tree: Path) -> set[str]:
    """Add a throw-away of a kind to a copy of the tree; gives the files that were written or changed.

    Raises:
        RuntimeError: a line that is to be changed is not there.
    """
    written = WRITTEN[kind]
    files = written | dict([test_of(next(iter(written)))])
    for path, text in files.items():
        (tree / path).write_text(text)
    for path, line, new in (*CHANGED.get(kind, ()), *MORE.get(kind, ())):
        before = (tree / path).read_text()
        if before.count(line) != 1:
            raise RuntimeError(f"{path}: {line!r} stands there {before.count(line)} times")
        (tree / path).write_text(before.replace(line, new + line))
        files[path] = ""
    return set(files)


def copied(tree: Path) -> Path:
    """The files of this tree that git knows, and new ones that it does not ignore."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\n"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def counted(tree: Path) -> dict[str, dict[str, int]]:
    """Files by kind, all kinds added to ``tree`` one after the other: by hand, and generated from them."""
    count = {}
    for kind in WRITTEN:
        by_hand, before = added(kind, tree), pages(tree)
        for recipe in ("recipes/docs_schemas.py", "recipes/docs_figures.py"):
            call(tree, recipe)
        changed = [path for path, text in pages(tree).items() if before.get(path) != text]
        count[kind] = {"by hand": len(by_hand), "generated": len(changed)}
    return count


def pages(tree: Path) -> dict[str, str]:
    """What recipes generate or fill in: the site's pages, the README and the schemas."""
    found = [*tree.glob("*.md"), *(tree / "docs").rglob("*.md"), *(tree / "docs/reference/schemas").iterdir()]
    return {str(path.relative_to(tree)): path.read_text() for path in found}


def call(tree: Path, *words: str) -> None:
    """Run Python in a copy, with its own sources; raises CalledProcessError where that fails."""
    paths = os.pathsep.join(str(tree / name) for name in ("src", "tests"))
    subprocess.run([sys.executable, *words], cwd=tree, env={**os.environ, "PYTHONPATH": paths}, check=True)


def main() -> None:
    """Add, try, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", action="store_true", help="try nothing, write nothing")
    parser.add_argument("--json", type=Path, default=ROOT / "docs/files_to_touch.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        count = counted(tree)
        if not asked.count:
            tests = (
                "tests/contract",
                "tests/core/test_registry.py",
                "tests/cli/test_help.py",
                "tests/defences",
                "tests/recipes/test_docs_schemas.py",
            )
            own = [test_of(next(iter(written)))[0] for written in WRITTEN.values()]
            call(tree, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests, *own)
            write_json(asked.json, {"command": COMMAND, "version": __version__, "files": count})
    print("\n".join(f"{kind}: {files['by hand']} by hand, {files['generated']} generated" for kind, files in count.items()))


if __name__ == "__main__":
    main()
