"""A ControlNet whose condition is a VAE latent, and the wrapper that lets stock diffusers pipelines feed it RGB."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import UserError
from sfumato.diffusion.attention import suit
from sfumato.diffusion.base import Base, load_codec

SETTINGS = "sfumato.json"


def new_controlnet(base: Base, *, generator: torch.Generator) -> Any:
    """A ControlNet that starts as a copy of the UNet's encoder, its condition path a stride-1 embedding of 4 channels."""
    from diffusers import ControlNetModel

    width = base.unet.config.block_out_channels[0]
    width = min(256, 4 * width) if width < 256 else 256
    model = ControlNetModel.from_unet(base.unet, conditioning_channels=4, conditioning_embedding_out_channels=(width,))
    for parameter in model.controlnet_cond_embedding.parameters():
        if parameter.ndim > 1 and bool(parameter.any()):
            bound = (parameter.shape[1] * parameter.shape[2] * parameter.shape[3]) ** -0.5
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        else:
            nn.init.zeros_(parameter)
    suit(model, side=base.side, device=base.unet.device.type)
    return model.train().requires_grad_(True).to(memory_format=torch.channels_last)


class LatentCondition(nn.Module):
    """RGB in [0, 1] -> VAE latent times ``alpha_m`` -> the trained embedding: takes the place of ``controlnet_cond_embedding``."""

    def __init__(self, vae: Any, embedding: nn.Module, *, scale: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.scale = scale
        self._vae = [vae]  # in a list: the VAE is the base's, not a part of the ControlNet's weights

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        """``(B, 3, H, W)`` to ``(B, C, h, w)``; a condition that is already a latent of 4 channels passes straight through."""
        if condition.shape[1] == 3:
            vae = self._vae[0].to(condition.device)
            with torch.no_grad():
                latent = vae.encode((condition * 2 - 1).to(vae.dtype)).latent_dist.mean * vae.config.scaling_factor
            condition = (self.scale * latent).to(condition.dtype)
        out: torch.Tensor = self.embedding(condition)
        return out


def save_controlnet(model: Any, folder: Path, settings: dict[str, Any]) -> None:
    """Save a stock ``ControlNetModel`` with our settings beside it. The settings come last: a folder without them is unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".model.", suffix=".partial") as aside:
        model.save_pretrained(aside)
        (folder / SETTINGS).unlink(missing_ok=True)
        for path in Path(aside).iterdir():
            os.replace(path, folder / path.name)
    write_json(folder / SETTINGS, settings)


def load_latent_controlnet(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load a trained ControlNet as it is, condition latents in, with its settings."""
    from diffusers import ControlNetModel

    settings = read_json(folder / SETTINGS, what="trained ControlNet (sfumato.json)")
    _check_settings(folder / SETTINGS, settings)
    try:
        model = ControlNetModel.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a ControlNet ({str(error).splitlines()[0]})", fix="run sfumato train again") from error
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last), settings


def _check_settings(path: Path, settings: Any) -> None:
    base = settings.get("base") if isinstance(settings, dict) else None
    good = (
        isinstance(base, dict)
        and all(isinstance(base.get(name), str) for name in ("name", "fingerprint", "unet"))
        and settings.get("kind") == "sfumato-controlnet"
        and isinstance(settings.get("condition"), str)
        and type(settings.get("condition_scale")) in (int, float)
        and type(settings.get("control_guidance_end")) in (int, float)
        and settings.get("context") in ("zeros", "captions")
    )
    if not good:
        raise UserError(
            f"{path}: not the settings of a ControlNet of ours",
            expected="what sfumato train wrote there, unchanged",
            fix="fetch the folder again, or run sfumato train again",
        )


def base_of(settings: dict[str, Any]) -> str:
    """The base that a ControlNet was trained on, where its name alone finds it.

    Raises:
        UserError: it was a folder on the trainer's machine.
    """
    base = settings["base"]
    if base.get("local"):
        raise UserError(
            f"trained on a local base called {base['name']!r}",
            expected="a base whose name can be found",
            fix="pass the base: --base FOLDER, or load_controlnet(..., vae=base.vae)",
        )
    return str(base["name"])


def load_controlnet(folder: str | Path, *, vae: Any = None) -> Any:
    """Load a trained ControlNet for the stock ``StableDiffusionControlNetPipeline`` with an RGB condition.

    The ControlNet was trained without captions: its cross-attention saw zeros, so its value projections are set to zero, which
    makes it blind to whatever prompt the pipeline feeds it, exactly.

    Args:
        folder: what ``sfumato train`` wrote.
        vae: the base's VAE, when it is loaded already.
    """
    model, settings = load_latent_controlnet(Path(folder))
    vae = load_codec(base_of(settings)).vae if vae is None else vae
    model.controlnet_cond_embedding = LatentCondition(vae, model.controlnet_cond_embedding, scale=settings["condition_scale"])
    if settings["context"] == "zeros":
        for name, module in model.named_modules():
            if name.endswith("attn2.to_v"):
                nn.init.zeros_(module.weight)
    return model
