"""What to show a trained ControlNet at generation, and for how many of the sampling steps.

    sfumato demo --full && python recipes/compare_generation.py sfumato-demo/controlnet

The condition as alpha_m c, as c, or as one drawn c_m a picture; and alpha_m c with the residuals used for a part of the steps.
All on the same held-out conditions, prompts and starting noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sfumato._version import __version__
from sfumato.core.artifact import read_json, write_json
from sfumato.core.randomness import InsecureNoise
from sfumato.defences import sealed_noise
from sfumato.diffusion.base import load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.server.export import PROVENANCE, work_folder
from sfumato.studies import demo
from sfumato.studies.training.held_out import HeldOut

ENDS = (0.4, 0.6, 0.8)
EXAMPLE = "sfumato-demo/controlnet"  # what is noted as the network's place: where it lies on this machine is nobody's affair


def compare(folder: Path, *, conditions: int, seed: int) -> dict[str, Any]:
    """Adherence of every way by name, and each way's ratio to ``alpha_m c`` throughout, paired over conditions."""
    base = load_base()
    controlnet, settings = load_latent_controlnet(folder)
    m = max(owner["settings"]["condition_step"] for owner in provenance(folder)["owners"])
    held_out = HeldOut.draw(base, demo.STYLE, conditions, condition="canny", seed=seed)
    clean = base.encode_pixels(held_out.conditions)
    drawn = sealed_noise.apply(clean, m, base.schedule, noise=InsecureNoise(seed)).float()
    mean = settings | {"control_guidance_end": 1.0, "condition_scale": float(base.schedule.alpha(m))}
    ways: dict[str, Any] = {"alpha_m c": (mean, None), "c": (mean, clean), "drawn c_m": (mean, drawn)}
    ways |= {f"alpha_m c, first {end:.0%} of the steps": (mean | {"control_guidance_end": end}, None) for end in ENDS}
    scored = {name: held_out.score(base, controlnet, used, latents=latents) for name, (used, latents) in ways.items()}
    return {name: arm.adherence | {"ratio": held_out.ratio(arm, scored["alpha_m c"]), "ssim": arm.ssim} for name, arm in scored.items()}


def provenance(folder: Path) -> Any:
    """What the trainer kept to itself, beside the ControlNet's folder."""
    return read_json(work_folder(folder) / PROVENANCE, what="provenance of a ControlNet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("controlnet", type=Path)
    parser.add_argument("--json", type=Path, default=Path("docs/generation.json"))
    parser.add_argument("--conditions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    quiet_libraries()
    ways = compare(args.controlnet, conditions=args.conditions, seed=args.seed)
    for name, way in ways.items():
        print(f"{name}: A = {way['mean']:.3f} [{way['low']:.3f}, {way['high']:.3f}]")
    trained, said = load_latent_controlnet(args.controlnet)[1], provenance(args.controlnet)
    settings = {"train": said["train"], "unet": trained["base"]["unet"], "owners": [owner["settings"] for owner in said["owners"]]}
    command = f"sfumato demo --full && python recipes/compare_generation.py {EXAMPLE}"
    write_json(
        args.json,
        {
            "ways": ways,
            "controlnet": settings,
            "command": command,
            "version": __version__,
            "interval": "95 %, paired bootstrap over conditions",
        },
    )


if __name__ == "__main__":
    main()
