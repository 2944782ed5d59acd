"""The whole path on this machine's device: seal, train, derive, generate, attack, compare, on the tiny base. Prints one JSON.

python benchmarks/second_device.py                    # on a GPU where there is one
SFUMATO_DEVICE=cpu python benchmarks/second_device.py # the same on the CPU, slower
python benchmarks/second_device.py --small            # few pictures and steps: whether it runs, not how fast

Where tensors of two devices meet, torch raises: such stages are listed in ``device_errors``, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.core import registry
from sfumato.core.device import choose_device, choose_precision
from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.owner.folder import read_folder
from sfumato.owner.seal import seal
from sfumato.pictures import store
from sfumato.records import reader
from sfumato.records.record import SealSettings
from sfumato.server import derive
from sfumato.server.fit import TrainConfig
from sfumato.server.generate import generate
from sfumato.server.train import train
from sfumato.studies.owners import write_folder
from sfumato.studies.records import audit
from sfumato.studies.training import compare

SIZES: dict[str, dict[str, Any]] = {
    "usual": {"people": 60, "each": 5, "steps": 200, "drawn": 16, "attacks": (), "public": 200, "compare": compare.SIZES["quick"]},
    "small": {
        "people": 20, "each": 1, "steps": 2, "drawn": 2, "attacks": ("algebraic", "linear_mmse"), "public": 12,
        "compare": {"domains": ("own",), "arms": ("sealed",), "pictures": 8, "conditions": 4, "steps": 2},
    },
}  # fmt: skip


class Stages:
    """Runs one stage after another, times each, and notes what failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def run(self, name: str, do: Callable[[], Any]) -> Any:
        print(name, file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            return do()
        except Exception as error:
            traceback.print_exc()
            self.failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds[name] = time.monotonic() - started

    def device_errors(self) -> list[str]:
        return [f"{name}: {why}" for name, why in self.failed.items() if "device" in why.lower()]


def ready(arms: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``arms`` that can run here: federated averaging needs an extra."""
    found = []
    for name in arms:
        asked = getattr(registry.get("schemes", compare.KNOWN[name][0]), "ready", lambda: None)
        with suppress(UserError):
            asked()
            found.append(name)
    return tuple(found)


def measure(size: dict[str, Any], work: Path) -> dict[str, Any]:
    stages = Stages()
    base = stages.run("load", lambda: load_base(device=choose_device()))
    precision = choose_precision(base.unet.device)
    pictures = store.distinct("open-peeps", "recombined", size["people"], size["each"], seed=4, purpose="second device")
    folder = write_folder(pictures, work / "pictures")
    config = TrainConfig(steps=size["steps"], batch=8, held_out=2, precision=precision)

    def sealed(name: str, **how: Any) -> Any:
        settings = SealSettings(condition="canny", seal_step=600, **how)
        opened = read_folder(folder, size=base.size, condition="canny")
        seal(opened, work / name, owner="me", codec=base, settings=settings, store=work / "home", allow_rerelease=True)
        return reader.load([work / name], codec=base)

    def drawn() -> int:
        net, settings = load_latent_controlnet(work / "net", device=base.unet.device)
        conditions = np.zeros((size["drawn"], base.size, base.size, 3), np.uint8)
        return len(
            generate(base, [""] * size["drawn"], seed=0, controlnet=net, settings=settings, conditions=conditions, precision=precision)
        )

    def attacked() -> Any:
        asked = audit.AuditConfig(attacks=size["attacks"], people=size["public"], each=4, controlnet=work / "net")
        return audit.run(work / "records", folder, work / "attack", asked, asked={"attacks": {}})

    records = stages.run("seal", lambda: sealed("records", condition_step=200))
    stages.run("train", lambda: train(records, base, work / "net", config))
    stages.run("generate", drawn)
    bare = stages.run("seal without conditions", lambda: sealed("bare", condition_step=None, derived=True))
    stages.run("derive", lambda: derive.if_needed(bare, base, seed=0, precision=precision, work=work / "derived"))
    stages.run("attack", attacked)
    arms = ready(size["compare"].get("arms", tuple(compare.ARMS)))
    stages.run("compare", lambda: compare.run(compare.CompareConfig(**size["compare"] | {"arms": arms}), work / "compare"))
    return {
        "device": torch.cuda.get_device_name(base.unet.device) if base.unet.device.type == "cuda" else str(base.unet.device),
        "precision": precision,
        "torch": torch.__version__,
        "seconds": stages.seconds,
        "total": sum(stages.seconds.values()),
        "arms": arms,
        "failed": stages.failed,
        "device_errors": stages.device_errors(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as work:
        figures = measure(SIZES["small" if args.small else "usual"], Path(work))
    figures["version"] = __version__
    figures["command"] = " ".join(["python benchmarks/second_device.py", *sys.argv[1:]])
    text = json.dumps(figures, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)
    sys.exit(1 if figures["failed"] else 0)


if __name__ == "__main__":
    main()
