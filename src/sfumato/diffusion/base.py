"""Load a Stable Diffusion of the 1.x / 2.x family: the tiny one that ships, a local diffusers folder or a hub id."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from sfumato.core.device import autocast
from sfumato.core.errors import UserError
from sfumato.core.outside import printable
from sfumato.diffusion import budget
from sfumato.diffusion.attention import suit
from sfumato.diffusion.layout import channels_last
from sfumato.diffusion.noising import eps_from
from sfumato.diffusion.placement import at_home
from sfumato.diffusion.quiet import hush
from sfumato.diffusion.schedule import Schedule
from sfumato.diffusion.suitable import DEFAULT, facts_of, location

__all__ = ["DEFAULT", "Base", "Codec", "TextCodec", "load_base", "load_codec", "load_text_codec", "location", "to_pixels"]


@dataclass(frozen=True)
class Codec:
    """What an owner needs of a base: the frozen VAE and the schedule. Never the UNet, never the text encoder.

    ``side`` is the side of the latents that the base was made for: its UNet's, for a VAE is often trained at another.
    """

    name: str
    vae: Any
    schedule: Schedule
    prediction_type: str
    side: int

    @property
    def factor(self) -> int:
        """Pixels of the picture along one side of a latent pixel."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size(self) -> int:
        """The side of the pictures that the base was made for, in pixels."""
        return self.side * self.factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The shape of one latent."""
        return (int(self.vae.config.latent_channels), self.side, self.side)

    @property
    def public_name(self) -> str:
        """The name without the folders that lead to it: what may be written into a file that is shared."""
        return Path(self.name).name if self.is_local else self.name

    @property
    def is_local(self) -> bool:
        """Whether the base is a folder of this machine, so that its name means nothing elsewhere."""
        return self.name != DEFAULT and Path(self.name).is_dir()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what a record depends on: the VAE's weights, its scaling factor and the schedule."""
        digest = hashlib.sha256()
        for key, value in sorted(self.vae.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.to("cpu", torch.float16).contiguous().numpy().tobytes())
        digest.update(repr(float(self.vae.config.scaling_factor)).encode())
        digest.update(self.schedule.alpha_bar.numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Posterior mean times the scaling factor: ``(B, 3, H, W)`` in [-1, 1] to float32 ``(B, 4, h, w)``, whatever it is computed in."""
        mean: torch.Tensor = self.vae.encode(images.to(self.vae.device, self.vae.dtype)).latent_dist.mean
        return (mean.float() * self.vae.config.scaling_factor).to(images.device)

    def encode_pixels(self, images: np.ndarray, *, batch: int | None = None) -> torch.Tensor:
        """Encode uint8 ``(N, H, W, 3)``, so many pictures at a time, or as many as fit the budget of memory."""
        batch = batch or budget.pieces(budget.encoding(self.vae, images.shape[1] * images.shape[2]))
        starts = range(0, len(images), batch)
        pixels = (torch.from_numpy(images[i : i + batch]).permute(0, 3, 1, 2).float() / 127.5 - 1 for i in starts)
        return torch.cat([self.encode(part) for part in pixels])

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """``(B, 4, h, w)`` to pictures ``(B, 3, H, W)`` in [-1, 1]."""
        scaled = latents.to(self.vae.device, self.vae.dtype) / self.vae.config.scaling_factor
        decoded: torch.Tensor = self.vae.decode(scaled).sample
        return decoded.clamp(-1, 1).to(latents.device)

    def decode_pixels(self, latents: torch.Tensor, *, batch: int | None = None, precision: str = "no") -> np.ndarray:
        """Decode ``(N, 4, h, w)`` to uint8 ``(N, H, W, 3)``, so many at a time, or as many as fit the budget of memory.

        ``bf16`` takes a third of the time and is a grey level off.
        """
        batch = batch or budget.pieces(budget.decoding(self.vae, latents.shape[2] * latents.shape[3] * self.factor**2))
        with autocast(self.vae.device, precision):
            parts = [to_pixels(self.decode(latents[i : i + batch].float()).float()) for i in range(0, len(latents), batch)]
        return np.concatenate(parts)


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """``(N, 3, H, W)`` in [-1, 1] to uint8 ``(N, H, W, 3)``."""
    pixels: np.ndarray = ((images.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).contiguous().cpu().numpy()
    return pixels


@dataclass(frozen=True)
class TextCodec(Codec):
    """A codec with the frozen text encoder beside it: what an owner needs who sends captions as contexts."""

    text_encoder: Any
    tokenizer: Any

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> torch.Tensor:
        """Text context of shape ``(B, L, D)``; a prompt that is too long is cut."""
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=self.tokenizer.model_max_length, return_tensors="pt"
        )
        hidden: torch.Tensor = self.text_encoder(tokens.input_ids.to(self.text_encoder.device)).last_hidden_state
        return hidden.cpu()

    @cached_property
    def empty_context(self) -> torch.Tensor:
        """The empty prompt's context, ``(1, L, D)``: what the UNet sees while a ControlNet trains without captions."""
        return self.embed([""])


@dataclass(frozen=True)
class Base(TextCodec):
    """A whole base: the codec, the frozen text encoder and the frozen UNet."""

    unet: Any

    def predict_noise(
        self, z_t: torch.Tensor, t: torch.Tensor, context: torch.Tensor, residuals: tuple[Any, Any] | None = None,
        *, dtype: torch.dtype | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """``eps_hat`` ``(B, 4, h, w)``: the noise that the UNet sees in ``z_t``, whether it predicts epsilon or v.

        Args:
            z_t, t: noised latents ``(B, 4, h, w)`` and their steps ``(B,)``, or the step of all of them.
            context: what the UNet reads, ``(B, L, D)``.
            residuals: a ControlNet's: a list for the UNet's way down, and its middle's.
            dtype: what the answer is reckoned in; None for whatever the UNet answers in, which autocast decides.
        """
        down, mid = (None, None) if residuals is None else residuals
        more = {} if residuals is None else {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        output = self.unet(z_t, t, encoder_hidden_states=context, **more).sample
        if dtype is not None:
            output, z_t = output.to(dtype), z_t.to(dtype)
        return eps_from(output, z_t, t, self.schedule, self.prediction_type)

    @cached_property
    def unet_fingerprint(self) -> str:
        """SHA-256 of the UNet's weights in half precision: a ControlNet fits this UNet only."""
        digest = hashlib.sha256()
        for key, value in sorted(self.unet.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.to("cpu", torch.float16).contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_codec(name: str = DEFAULT) -> Codec:
    """Load the owner's half of base ``name``.

    Raises:
        UserError: it is no base that a server could train, as ``load_base`` would find: before anything is sealed for it.
    """
    facts = facts_of(name)  # first: a name that is none is said before libraries are loaded
    from diffusers import AutoencoderKL

    vae = _frozen(_load(AutoencoderKL, name, "vae"))
    return Codec(name=name, vae=vae, schedule=facts.schedule, prediction_type=facts.prediction_type, side=facts.side)


def load_text_codec(name: str = DEFAULT) -> TextCodec:
    """Load base ``name`` without its UNet."""
    codec = load_codec(name)
    fields = {field: getattr(codec, field) for field in ("name", "vae", "schedule", "prediction_type", "side")}
    text, tokenizer = _words(name)
    return TextCodec(**fields, text_encoder=text, tokenizer=tokenizer)


def load_base(name: str = DEFAULT, *, device: str = "cpu") -> Base:
    """Load base ``name`` in float32.

    Args:
        name: ``tiny`` (ships with the library), a folder in diffusers' layout, or a hub id of SD 1.x / 2.x.
        device: where its networks live; latents and noise are drawn on the CPU, so that a seed means the same everywhere.

    Raises:
        UserError: the folder is not a diffusers pipeline, or is of another family.
    """
    facts = facts_of(name)
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet = _load(UNet2DConditionModel, name, "unet")
    suit(unet, side=facts.side, device=device)
    text, tokenizer = _words(name)
    return Base(
        name=name,
        vae=_frozen(_load(AutoencoderKL, name, "vae")).to(device),
        schedule=facts.schedule,
        prediction_type=facts.prediction_type,
        side=facts.side,
        unet=_frozen(unet).to(device),
        text_encoder=text.to(device),
        tokenizer=tokenizer,
    )


def _words(name: str) -> tuple[Any, Any]:
    """The text encoder, and a tokenizer that gives no more words than it takes."""
    from transformers import CLIPTextModel, CLIPTokenizer

    text, tokenizer = _frozen(_load(CLIPTextModel, name, "text_encoder")), _load(CLIPTokenizer, name, "tokenizer")
    most = text.config.max_position_embeddings
    if tokenizer.model_max_length > most:
        raise UserError(
            f"{name}: its tokenizer gives up to {tokenizer.model_max_length} words", expected=f"at most the text encoder's {most}"
        )
    return text, tokenizer


def _load(kind: Any, name: str, part: str) -> Any:
    hush()
    where = location(name)
    if Path(where).is_dir() and not (Path(where) / part).is_dir():
        raise UserError(
            f"{name}: no folder {part!r} in it",
            expected="a StableDiffusionPipeline folder as diffusers saves it (vae, unet, text_encoder, tokenizer, scheduler)",
            fix="pass --base with such a folder, a hub id, or leave it out for the tiny base",
        )
    try:
        extra = {} if part == "tokenizer" else {"torch_dtype": torch.float32}
        return kind.from_pretrained(where, subfolder=part, **extra)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{name}: its {part} could not be loaded ({printable(str(error).split(chr(10))[0])})",
            expected="'tiny', a diffusers folder, or the hub id of an SD 1.x / 2.x base that can be reached",
            fix="check the spelling, or download the base and pass its folder",
        ) from error


def _frozen(module: Any) -> Any:
    return at_home(channels_last(module.eval().requires_grad_(False)))
