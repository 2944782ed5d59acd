"""The owner's loop, on any folder of pictures: try a level, attack it, try the next; seal what passed, and attack that.

    python examples/owner_loop.py PICTURES --out loop --public OTHER_PICTURES

A trial counts as no release, so it costs nothing to find out that a level does not hide enough.
Only the level that passed is sealed for good, into ``loop/records``; that release is attacked
once more before it may leave. Where no level passes, nothing is sealed.

What a folder does not tell is not asked: without a ``person`` column, who is on the pictures. The
last line says so, for what passed then says nothing of people.

Exit code 0: sealed, and all gates that could be asked passed. 1: no level passed. 2: the input was
wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Attacked:
    """What came of attacking records of one step: ``gates`` by name, in words; why some things could not be asked, by their names."""

    step: int
    trial: bool
    exit_code: int
    gates: dict[str, str]
    unasked: dict[str, str]
    page: str


def main() -> int:
    """Try the steps in their order; seal the first that passes."""
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    attacked: list[Attacked] = []
    for step in asked.steps:
        trial = asked.out / f"trial-{step}"
        sfumato("seal", asked.pictures, "-o", trial, "--owner", asked.owner, "--trial", *settings(asked, step))
        attacked.append(attack(asked, trial, step, trial=True))
        if attacked[-1].exit_code == 0:
            break
    else:
        report(asked, attacked)
        print(f"No step of {asked.steps} passed: nothing was sealed. Leave these pictures where they are.")
        return 1
    records = asked.out / "records"
    sfumato("seal", asked.pictures, "-o", records, "--owner", asked.owner, *settings(asked, step))
    attacked.append(attack(asked, records, step, trial=False))
    report(asked, attacked)
    if attacked[-1].exit_code:
        print(f"The trial passed, the release did not: look at {attacked[-1].page}, then: sfumato withdraw {records}")
        return 1
    last = attacked[-1]
    passed = ", ".join(name for name, found in last.gates.items() if found == "passed")
    said = "; ".join([f"passed: {passed}", *last.unasked.values()])
    print(f"{records}: sealed at step {step}; {said}. That says what these attacks got, and is no guarantee.")
    return 0


def attack(asked: argparse.Namespace, records: Path, step: int, *, trial: bool) -> Attacked:
    """Attack ``records`` with the owner's pictures as the truth; the page lies beside them, in a private folder."""
    out = asked.out / f"attack-{records.name}"
    more = [word for name in ("public", "gates") if (path := getattr(asked, name)) for word in (f"--{name}", path)]
    command = ["attack", records, "--truth", asked.pictures, "-o", out, "--effort", asked.effort, *more]
    command += ["--base", asked.base, "--attacks", asked.attacks]
    found, code = sfumato(*command, "--json", may_fail=True)
    gates = {gate["name"]: "not asked" if gate["unasked"] else WORDS[gate["passed"]] for gate in found["gates"]}
    print(f"step {step}: " + ", ".join(f"{name} {held}" for name, held in gates.items()), flush=True)
    return Attacked(step, trial, code, gates, found["unasked"], str(out / "attack.html"))


WORDS = {True: "passed", False: "failed", None: "not tested"}


def settings(asked: argparse.Namespace, step: int) -> list[str]:
    """At ``step``, with no condition leaving."""
    return ["--seal-step", str(step), "--derive", "--condition", asked.condition, "--base", asked.base, "--json"]


def sfumato(*words: Any, may_fail: bool = False) -> tuple[dict[str, Any], int]:
    """Run a command as its user would; what it prints as JSON, and its exit code."""
    command = [sys.executable, "-m", "sfumato.cli.main", *map(str, words)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode and not (may_fail and run.stdout.strip()):
        sys.exit(run.returncode)
    return json.loads(run.stdout), run.returncode


def report(asked: argparse.Namespace, attacked: list[Attacked]) -> None:
    """What was tried, for whoever asks later; it holds no picture."""
    found = {"effort": asked.effort, "attacked": [asdict(one) for one in attacked]}
    (asked.out / "loop.json").write_text(json.dumps(found, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--owner", default="owner")
    parser.add_argument("--public", type=Path, help="pictures of the same kind that anybody could have")
    parser.add_argument("--steps", type=int, nargs="+", default=[700, 800, 900], help="from the one that hides least")
    parser.add_argument("--condition", default="canny")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--attacks", default="all")
    parser.add_argument("--gates", type=Path, help="gates as TOML, in place of those that ship")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
