"""How large a base is: shapes and parameter counts of its true modules, of a loaded base or of Stable Diffusion 1.5 on no device at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base
from sfumato.diffusion.placement import at_home
from sfumato.diffusion.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What schemes send and hold, in numbers.

    Attributes:
        name: of the base.
        pixels: side of its pictures.
        latent: values of one latent, ``4 h w``.
        activation: values behind the first convolution, ``C h w``.
        context: values of one caption's context, ``L D``.
        parameters: by part: ``vae``, ``vae_encoder``, ``text_encoder``, ``unet``, ``controlnet``, ``entrance``, ``conv_in``.
    """

    name: str
    pixels: int
    latent: int
    activation: int
    context: int
    parameters: dict[str, int]


def shapes_of(base: Base) -> Shapes:
    """Of a loaded base, on whatever device."""
    controlnet = nets.from_unet(base.unet)
    return Shapes(
        name=base.public_name,
        pixels=base.size,
        latent=_product(base.latent_shape),
        activation=int(base.unet.config.block_out_channels[0]) * base.side**2,
        context=int(base.tokenizer.model_max_length) * int(base.text_encoder.config.hidden_size),
        parameters={
            "vae": _count(base.vae),
            "vae_encoder": _count(base.vae.encoder) + (_count(base.vae.quant_conv) if base.vae.quant_conv is not None else 0),
            "text_encoder": _count(base.text_encoder),
            "unet": _count(base.unet),
            "controlnet": _count(controlnet),
            "entrance": _count(nets.Entrance.of(controlnet)),
            "conv_in": _count(base.unet.conv_in),
        },
    )


def sd15() -> Shapes:
    """Of Stable Diffusion 1.5 at 512x512: its published configuration on the meta device, no weights."""
    with torch.device("meta"):
        return shapes_of(sd15_base())


def sd15_base(*, side: int = 64, device: str | None = None) -> Base:
    """Stable Diffusion 1.5's published configuration with random weights, for latents of ``side``: of no use but to be timed.

    ``device`` is where its networks go; by default they stay where they are made.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=side, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=768, attention_head_dim=8,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            max_position_embeddings=77, projection_dim=768,
        )
    )  # fmt: skip
    bar = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64, device="cpu") ** 2).cumprod(0)
    with torch.device("cpu"):
        schedule = Schedule(bar)
    vae, unet, text = (_frozen(part, device) for part in (vae, unet, text))
    return Base(
        name="stable-diffusion-1.5", vae=vae, schedule=schedule, prediction_type="epsilon", side=side, unet=unet,
        text_encoder=text, tokenizer=_Tokens(77),
    )  # fmt: skip


class _Tokens:
    """Any words as the same numbers: there is no vocabulary without weights."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length

    def __call__(self, prompts: list[str], **how: Any) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(input_ids=torch.ones((len(prompts), self.model_max_length), dtype=torch.long))


def _frozen(module: Any, device: str | None) -> Any:
    module = module.eval().requires_grad_(False)
    return module if device is None else at_home(module.to(device))


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
