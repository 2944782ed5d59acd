"""A ControlNet whose condition is a VAE latent, and the wrapper that lets stock diffusers pipelines feed it RGB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato._version import __version__
from sfumato.core.errors import UserError
from sfumato.diffusion.attention import suit, usual
from sfumato.diffusion.base import DEFAULT, Base, load_codec
from sfumato.diffusion.controlnet_folder import SETTINGS as SETTINGS
from sfumato.diffusion.controlnet_folder import check_fits as check_fits
from sfumato.diffusion.controlnet_folder import load
from sfumato.diffusion.controlnet_folder import save_controlnet as save_controlnet
from sfumato.diffusion.layout import channels_last
from sfumato.diffusion.placement import at_home


def from_unet(unet: Any) -> Any:
    """A copy of the UNet's encoder, its condition path a stride-1 embedding of 4 channels that is not initialised yet."""
    from diffusers import ControlNetModel

    width = unet.config.block_out_channels[0]
    width = min(256, 4 * width) if width < 256 else 256
    with torch.random.fork_rng(devices=[]):  # diffusers draws first weights globally
        return ControlNetModel.from_unet(unet, conditioning_channels=4, conditioning_embedding_out_channels=(width,))


def usual_controlnet(base: Base) -> Any:
    """The ordinary ControlNet with its RGB pyramid, as a centralised script trains it: a baseline, in diffusers' own defaults."""
    from diffusers import ControlNetModel

    pyramid = (16, 32, 96, 256)[: base.factor.bit_length()]  # one halving for each factor of 2
    model = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=pyramid)
    usual(model)
    return model.train().requires_grad_(True).to(base.unet.device, memory_format=torch.contiguous_format)


def new_controlnet(base: Base, *, generator: torch.Generator) -> Any:
    """A ControlNet that starts as a copy of the UNet's encoder and changes nothing yet, where the base is."""
    model = from_unet(base.unet).cpu()  # where first weights are drawn
    for parameter in model.controlnet_cond_embedding.parameters():
        if parameter.ndim > 1 and bool(parameter.any()):
            bound = (parameter.shape[1] * parameter.shape[2] * parameter.shape[3]) ** -0.5
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        else:
            nn.init.zeros_(parameter)
    suit(model, side=base.side, device=base.unet.device.type)
    return at_home(channels_last(model.train().requires_grad_(True)).to(base.unet.device))


def symsigmoid(x: torch.Tensor) -> torch.Tensor:
    """The one-way scheme's activation: ``|x| (2 sigmoid(x) - 1)``; odd, strictly increasing, and so invertible by whoever has it."""
    return x.abs() * (2 * x.sigmoid() - 1)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"symsigmoid": symsigmoid, "identity": lambda x: x}


def one_way_input(c: torch.Tensor, z_t: torch.Tensor, activation: str) -> torch.Tensor:
    """What stands for ``z_t`` and the condition at once: ``h = fp16(f(c + z_t))``, all ``(B, 4, h, w)``."""
    return ACTIVATIONS[activation](c + z_t).half().to(z_t.dtype)


def silence_hint(model: Any) -> Any:
    """Make a new ControlNet compute nothing of ``controlnet_cond``: for schemes whose condition is in its first input already."""
    last = model.controlnet_cond_embedding.conv_out
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    model.controlnet_cond_embedding.requires_grad_(False)
    return model


def mix_condition_in(model: Any, activation: str, *, encode: Any = None) -> Any:
    """Let a silenced ControlNet see ``h`` in place of ``z_t``, recomputed in every sampling step from the condition that it is passed.

    Args:
        model: as ``silence_hint`` made it.
        activation: "symsigmoid" or "identity".
        encode: for the stock pipeline: RGB conditions in [0, 1] to latents; ``None`` where conditions are latents.
    """

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        z_t, *rest = args
        c = kwargs["controlnet_cond"] if encode is None else encode(kwargs["controlnet_cond"])
        return (one_way_input(c.to(z_t), z_t, activation), *rest), {**kwargs, "controlnet_cond": torch.zeros_like(z_t)}

    model.register_forward_pre_hook(before, with_kwargs=True)
    return model


def controlled_eps(
    base: Base, model: Any, z_t: torch.Tensor, t: torch.Tensor, *, context: torch.Tensor, hint: torch.Tensor, seen: torch.Tensor,
    shown: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """``eps_hat`` ``(B, 4, h, w)`` of the frozen UNet under a ControlNet's residuals. The UNet's own encoder needs no gradient and gets
    none: its inputs and weights ask for none.

    Args:
        base, model: the frozen base and the ControlNet.
        z_t, t: noised latents ``(B, 4, h, w)`` and their steps ``(B,)``.
        context: what the UNet reads, ``(B, L, D)``.
        hint: the condition that the ControlNet is passed.
        seen: what the ControlNet reads, ``(B, L, D)``.
        shown: what the ControlNet takes for ``z_t``, where it is another.
    """
    z_t = z_t.contiguous(memory_format=torch.channels_last)
    shown = z_t if shown is None else shown.contiguous(memory_format=torch.channels_last)
    down, mid = model(shown, t, seen, controlnet_cond=hint, return_dict=False)
    down, mid = [part.float() for part in down], mid.float()  # sums in float32, whatever the networks compute in
    return base.predict_noise(z_t, t, context, (down, mid), dtype=torch.float32)


def describe(base: Base, *, condition: str, captioned: bool, **more: Any) -> dict[str, Any]:
    """The settings that go beside a ControlNet, ``SETTINGS``.

    Args:
        base: that it was trained on.
        condition: the extractor's name.
        captioned: whether it reads prompts; else zeros.
        more: whatever else is to be said.
    """
    return {
        "kind": "sfumato-controlnet",
        "version": __version__,
        "base": {"name": base.public_name, "local": base.is_local, "fingerprint": base.fingerprint, "unet": base.unet_fingerprint},
        "condition": condition,
        "condition_scale": 1.0,  # c itself, whatever m it was trained at: alpha_m c and a drawn c_m follow it less (docs/results/sweep.md)
        "context": "captions" if captioned else "zeros",
        "control_guidance_end": 1.0,
        **more,
    }


class Entrance(nn.Module):
    """A ControlNet's first layers, ``conv_in(z_t) + embedding(c)``: what an owner holds in conventional split learning."""

    def __init__(self, conv_in: nn.Module, embedding: nn.Module) -> None:
        super().__init__()
        self.conv_in, self.embedding = conv_in, embedding

    def forward(self, z_t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Latents ``(B, 4, h, w)`` to activations ``(B, C, h, w)``."""
        out: torch.Tensor = self.conv_in(z_t) + self.embedding(c)
        return out

    @classmethod
    def of(cls, model: Any) -> Entrance:
        """The very layers of a ControlNet."""
        return cls(model.conv_in, model.controlnet_cond_embedding)

    @classmethod
    def from_weights(cls, weights: dict[str, torch.Tensor]) -> Entrance:
        """An entrance of its own, its sizes those of ``weights``."""
        from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

        channels, latent = weights["conv_in.weight"].shape[:2]
        width = weights["embedding.conv_in.weight"].shape[0]
        entrance = cls(
            nn.Conv2d(latent, channels, 3, padding=1), ControlNetConditioningEmbedding(channels, latent, block_out_channels=(width,))
        )
        entrance.load_state_dict(weights)
        return entrance


class LatentCondition(nn.Module):
    """RGB in [0, 1] -> VAE latent times ``scale`` -> the trained embedding: takes the place of ``controlnet_cond_embedding``."""

    def __init__(self, vae: Any, embedding: nn.Module, *, scale: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.scale = scale
        self._vae = [vae]  # in a list: the VAE is the base's, not a part of the ControlNet's weights

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        """``(B, 3, H, W)`` to ``(B, C, h, w)``; a condition that is already a latent of 4 channels passes straight through."""
        if condition.shape[1] == 3:
            condition = self.scale * _encode(self._vae[0], condition)
        out: torch.Tensor = self.embedding(condition)
        return out


@torch.no_grad()
def _encode(vae: Any, condition: torch.Tensor) -> torch.Tensor:
    """RGB in [0, 1] to VAE latents."""
    vae = vae.to(condition.device)
    latent: torch.Tensor = vae.encode((condition * 2 - 1).to(vae.dtype)).latent_dist.mean * vae.config.scaling_factor
    return latent.to(condition.dtype)


def load_latent_controlnet(folder: Path, *, device: Any = "cpu") -> tuple[Any, dict[str, Any]]:
    """Load a trained ControlNet as it is, condition latents in, onto ``device``, with its settings."""
    model, settings = _load(folder)
    model = model.to(device)
    if settings.get("activation"):
        mix_condition_in(model, settings["activation"])
    return model, settings


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    model, settings = load(folder)
    return at_home(channels_last(model.eval().requires_grad_(False))), settings


def base_of(settings: dict[str, Any]) -> str:
    """The base that a ControlNet was trained on, where that is the one that ships.

    Raises:
        UserError: another. A folder from anybody says which, and nothing is fetched or opened because a stranger names it.
    """
    base = settings["base"]
    if base.get("local"):
        raise UserError(
            f"trained on a local base called {base['name']!r}",
            expected="a base whose name can be found",
            fix="pass the base: --base FOLDER, or load_controlnet(..., vae=base.vae)",
        )
    if base["name"] != DEFAULT:
        raise UserError(
            f"trained on base {str(base['name'])!r}, as it says",
            expected="a base that you name yourself",
            fix="pass that base, or a folder with it: --base BASE, or load_controlnet(..., vae=base.vae)",
            privacy="a base is fetched from where its name leads, and its maker sees who fetches it: a stranger's word is not enough",
        )
    return DEFAULT


def load_controlnet(folder: str | Path, *, vae: Any = None) -> Any:
    """Load a trained ControlNet for the stock ``StableDiffusionControlNetPipeline`` with an RGB condition.

    The ControlNet was trained without captions: its cross-attention saw zeros, so its value projections are set to zero, which
    makes it blind to whatever prompt the pipeline feeds it, exactly.

    Args:
        folder: what ``sfumato train`` wrote.
        vae: the base's VAE, when it is loaded already.
    """
    model, settings = _load(Path(folder))
    vae = load_codec(base_of(settings)).vae if vae is None else vae
    if settings.get("activation"):
        mix_condition_in(model, settings["activation"], encode=lambda rgb: _encode(vae, rgb) if rgb.shape[1] == 3 else rgb)
    else:
        model.controlnet_cond_embedding = LatentCondition(vae, model.controlnet_cond_embedding, scale=settings["condition_scale"])
    if settings["context"] == "zeros":
        for name, module in model.named_modules():
            if name.endswith("attn2.to_v"):
                nn.init.zeros_(module.weight)
    return model
