"""Which bases can be trained here, told from their configurations alone: before weights are read, and before an owner seals."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from sfumato.core.artifact import read_json
from sfumato.core.errors import UserError
from sfumato.core.outside import printable
from sfumato.diffusion import hub
from sfumato.diffusion.schedule import Schedule

DEFAULT = "tiny"
EXPECTED = "a text-to-image base of the Stable Diffusion 1.x or 2.x family"
FACTORS = (4, 8)  # of the VAE: those that a ControlNet's RGB pyramid knows
STEPS = 10_000  # of a schedule, at most
PARTS = ("vae", "unet", "text_encoder", "scheduler")

# Parts that no base of the family has, and what has them.
_OTHER_PARTS = {
    "transformer": "a diffusion transformer, such as SD 3, Flux or PixArt",
    "text_encoder_2": "a base with two text encoders, such as SDXL",
    "text_encoder_3": "a base with three text encoders, such as SD 3",
    "prior": "a cascade with a prior, such as Kandinsky, unCLIP or Wuerstchen",
    "low_res_scheduler": "an upscaler",
}
# Channels that a UNet takes beside four of latents.
_CHANNELS = {
    3: "a base in pixels, such as DeepFloyd IF",
    5: "a base with depth",
    7: "an upscaler",
    8: "a base that edits pictures, such as InstructPix2Pix",
    9: "an inpainting base",
}
# Settings of a UNet that ask for an input which training does not give: all absent in the family.
_FOREIGN: dict[str, dict[str | None, str]] = {
    "addition_embed_type": {"text_time": "SDXL", "text": "DeepFloyd IF", "image": "Kandinsky", "image_hint": "Kandinsky"},
    "time_cond_proj_dim": {None: "a consistency model (LCM), which takes its guidance as an input"},
    "encoder_hid_dim_type": {"text_proj": "DeepFloyd IF or Kolors", "ip_image_proj": "an IP-Adapter"},
    "encoder_hid_dim": {None: "a base that projects its text first, such as DeepFloyd IF or Kolors"},
    "class_embed_type": {"projection": "unCLIP", "timestep": "an upscaler"},
    "num_class_embeds": {None: "a class-conditional base, such as an upscaler"},
}


@dataclass(frozen=True)
class Facts:
    """What the configurations of a suitable base say: its schedule, what its UNet predicts, and the side of its latents."""

    schedule: Schedule
    prediction_type: str
    side: int


def location(name: str) -> str:
    """Where ``from_pretrained`` finds base ``name``."""
    return str(files("sfumato") / "assets" / "tiny") if name == DEFAULT else name


def facts_of(name: str) -> Facts:
    """Check base ``name`` by its configurations.

    Raises:
        UserError: it is of another family, or its configurations are missing, damaged or at odds with each other.
    """
    index = _read(name, "", "model_index.json", needed=False)
    for part, what in _OTHER_PARTS.items():
        given = index.get(part)
        if (isinstance(given, list) and any(given)) or (Path(location(name)) / part).is_dir():
            raise _refusal(name, f"has a {part}: {what}")
    config = {part: _read(name, part, "scheduler_config.json" if part == "scheduler" else "config.json") for part in PARTS}
    side = _check_unet(name, config["unet"])
    _check_vae(name, config["vae"])
    _check_text(name, config["text_encoder"], config["unet"])
    _try(name, config["unet"], config["vae"], side)
    schedule, prediction = _schedule(name, config["scheduler"])
    return Facts(schedule, prediction, side)


def _refusal(name: str, got: str, expected: str = EXPECTED) -> UserError:
    return UserError(f"{name}: {printable(got)}", expected=expected, fix="pass --base with such a base, or leave it out for the tiny one")


def _read(name: str, part: str, file: str, *, needed: bool = True) -> dict[str, Any]:
    """One of a base's configurations; empty where it need not be there and is not."""
    where, path = location(name), Path(location(name)) / part / file
    if not Path(where).is_dir():
        found = _from_hub(name, part, file, needed=needed)
        if found is None:
            return {}
        path = found
    elif not path.is_file():
        if not needed:
            return {}
        raise UserError(
            f"{name}: no {part}/{file} in it",
            expected="a StableDiffusionPipeline folder as diffusers saves it (vae, unet, text_encoder, tokenizer, scheduler)",
            fix="pass --base with such a folder, a hub id, or leave it out for the tiny base",
        )
    config = read_json(path, what="configuration of a base")
    if not isinstance(config, dict):
        raise _refusal(name, f"{part or 'its'}/{file} is no table of settings")
    return config


def _from_hub(name: str, part: str, file: str, *, needed: bool) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        if not isinstance(try_to_load_from_cache(name, f"{part}/{file}" if part else file), str):
            hub.reach()
        from transformers.utils.hub import cached_file

        found = cached_file(name, file, subfolder=part)
        if found is None:
            raise OSError(f"no {part}/{file}")
        return Path(found)
    except (OSError, ValueError) as error:
        if not needed and not isinstance(error, hub.Unreachable):
            return None
        raise UserError(
            f"{name}: neither a folder nor a base that can be reached ({printable(str(error).splitlines()[0])})",
            expected="'tiny', a diffusers folder, or the hub id of an SD 1.x / 2.x base",
            fix="check the spelling, or download the base and pass its folder",
        ) from error


# ------------------------------------------------------------------------------------------ each part


def _check_unet(name: str, config: dict[str, Any]) -> int:
    """The side of the latents of a UNet that can be trained."""
    kind = config.get("_class_name", "UNet2DConditionModel")
    if kind != "UNet2DConditionModel":
        raise _refusal(name, f"its unet is a {kind}")
    for key, known in _FOREIGN.items():
        given = config.get(key)
        if given is not None:
            what = known.get(given) if isinstance(given, str) else None
            raise _refusal(name, f"its UNet has {key} {given!r}: {what or known.get(None, 'a base that is told more than a text')}")
    channels = config.get("in_channels", 4)
    if type(channels) is not int or channels != 4:
        what = _CHANNELS.get(channels) if type(channels) is int else None
        raise _refusal(name, f"its UNet takes {channels!r} channels{f': {what}' if what else ''}", f"{EXPECTED}, with 4 latent channels")
    if (given := config.get("out_channels", 4)) != 4:
        raise _refusal(name, f"its UNet gives {given!r} channels", f"{EXPECTED}, with 4 latent channels")
    if config.get("attention_type") not in (None, "default"):
        raise _refusal(name, f"its UNet's attention is {config['attention_type']!r}: a base with boxes, such as GLIGEN")
    widths = _widths(name, "UNet", config.get("block_out_channels"))
    _bound(name, "UNet", config, {"layers_per_block": 16, "transformer_layers_per_block": 16, "attention_head_dim": 2**14})
    return _side(name, config, 2 ** (len(widths) - 1))


def _side(name: str, config: dict[str, Any], divisor: int) -> int:
    given = config.get("sample_size")
    sides = given if isinstance(given, list) and given else [given]
    side = sides[0]
    if type(side) is not int or any(type(one) is not int or one != side for one in sides) or len(sides) > 2:
        raise _refusal(name, f"its UNet's sample_size is {given!r}", f"{EXPECTED}, made for square pictures: one whole number")
    if not 0 < side <= 512 or side % divisor:
        raise _refusal(name, f"its UNet's sample_size is {side}", f"a multiple of {divisor}, at most 512")
    return side


def _check_vae(name: str, config: dict[str, Any]) -> None:
    kind = config.get("_class_name", "AutoencoderKL")
    if kind != "AutoencoderKL":
        raise _refusal(name, f"its vae is a {kind}", f"{EXPECTED}, whose VAE is an AutoencoderKL")
    for key, wanted in (("latent_channels", 4), ("in_channels", 3), ("out_channels", 3)):
        given = config.get(key, wanted)
        if type(given) is not int or given != wanted:
            what = " (SD 3 and Flux have 16)" if key == "latent_channels" else ""
            raise _refusal(name, f"its VAE has {key} {given!r}", f"{wanted}{what}")
    factor = 2 ** (len(_widths(name, "VAE", config.get("block_out_channels"))) - 1)
    if factor not in FACTORS:
        raise _refusal(name, f"its VAE makes one latent pixel of {factor}x{factor}", "4 or 8 a side")
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if config.get(key) is not None:
            raise _refusal(name, f"its VAE has a {key}: of a later family, such as SD 3 or Flux")
    scale = config.get("scaling_factor", 0.18215)
    if type(scale) not in (int, float) or not math.isfinite(scale) or not 1e-4 < scale < 1e4:
        raise _refusal(name, f"its VAE's scaling_factor is {scale!r}", "a number such as 0.18215")
    _bound(name, "VAE", config, {"layers_per_block": 16})


def _check_text(name: str, config: dict[str, Any], unet: dict[str, Any]) -> None:
    kind = config.get("model_type", "clip_text_model")
    if not isinstance(kind, str) or not kind.startswith("clip"):
        raise _refusal(name, f"its text encoder is a {kind!r}", f"{EXPECTED}, whose text encoder is CLIP's")
    hidden, width = config.get("hidden_size", 512), unet.get("cross_attention_dim", 1280)
    widths = width if isinstance(width, list) else [width]
    if type(hidden) is not int or any(type(one) is not int or one != hidden for one in widths):
        raise _refusal(
            name,
            f"its UNet attends to contexts of {width!r} and its text encoder gives {hidden!r}",
            f"{EXPECTED}: the same width (768 in SD 1.x, 1024 in SD 2.x; SDXL has 2048 of two encoders)",
        )
    limits = {
        "hidden_size": 2**13, "intermediate_size": 2**15, "num_hidden_layers": 64, "vocab_size": 2**19, "max_position_embeddings": 2**12,
    }  # fmt: skip
    _bound(name, "text encoder", config, limits)


def _widths(name: str, part: str, given: Any) -> list[int]:
    if not isinstance(given, list) or not 1 <= len(given) <= 8 or any(type(one) is not int or not 0 < one <= 2**13 for one in given):
        raise _refusal(name, f"its {part}'s block_out_channels are {_short(given)}", "one width for each level, at most 8192")
    return given


def _bound(name: str, part: str, config: dict[str, Any], limits: dict[str, int]) -> None:
    for key, most in limits.items():
        given = config.get(key)
        values = given if isinstance(given, list) else [given]
        if any(one is not None and (type(one) is not int or not 0 < one <= most) for one in values):
            raise _refusal(name, f"its {part}'s {key} is {_short(given)}", f"a whole number of at most {most}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# ------------------------------------------------------------------------------------------ together


def _try(name: str, unet: dict[str, Any], vae: dict[str, Any], side: int) -> None:
    """Build what training builds, without a byte of weights, and run it once: whatever the tables above do not name shows here."""
    error = _built(json.dumps(unet, sort_keys=True), json.dumps(vae, sort_keys=True), side)
    if error:
        raise _refusal(name, f"its configurations make no base that a ControlNet fits ({error})")


@cache
def _built(unet: str, vae: str, side: int) -> str:
    """What goes wrong; empty where nothing does."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    try:
        with torch.device("meta"), torch.no_grad():
            network, pictures = UNet2DConditionModel.from_config(json.loads(unet)), AutoencoderKL.from_config(json.loads(vae))
            ControlNetModel.from_unet(network)
            z = torch.zeros(1, 4, side, side)
            width = network.config.cross_attention_dim
            context = torch.zeros(1, 2, width if isinstance(width, int) else width[0])
            shape = network(z, torch.zeros(1, dtype=torch.long), encoder_hidden_states=context).sample.shape
            pixels = side * 2 ** (len(pictures.config.block_out_channels) - 1)
            latents = pictures.encode(torch.zeros(1, 3, pixels, pixels)).latent_dist.mean.shape
    except Exception as error:  # whatever a stranger's settings make libraries say
        return printable(f"{type(error).__name__}: {str(error)[:200] or 'no reason given'}")
    return "" if shape == latents == z.shape else f"latents {tuple(latents)} and a UNet that gives {tuple(shape)} of {tuple(z.shape)}"


def _schedule(name: str, config: dict[str, Any]) -> tuple[Schedule, str]:
    """The schedule and what the UNet predicts."""
    from diffusers import DDPMScheduler

    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise _refusal(name, f"prediction type {_short(prediction)}", "epsilon or v_prediction")
    steps, betas = config.get("num_train_timesteps"), config.get("trained_betas")
    missing = [key for key in ("beta_start", "beta_end", "beta_schedule") if betas is None and config.get(key) is None]
    if type(steps) is not int or missing:
        what = f"a {config.get('_class_name', 'scheduler')} without {', '.join(missing) or 'a whole number of num_train_timesteps'}"
        raise _refusal(name, f"its scheduler is {what}", f"{EXPECTED}, with a schedule of betas")
    if not 1 < steps <= STEPS or (betas is not None and (not isinstance(betas, list) or len(betas) != steps)):
        raise _refusal(name, f"its schedule has {_short(steps)} steps", f"2 to {STEPS}, and as many trained betas where there are any")
    known = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"}
    try:
        scheduler = DDPMScheduler.from_config({key: value for key, value in config.items() if key in known})
        return Schedule(scheduler.alphas_cumprod), str(prediction)
    except (ValueError, TypeError, NotImplementedError, RuntimeError, ArithmeticError) as error:
        raise _refusal(
            name, f"its schedule cannot be used ({error})", "betas under which less of the picture is left at every step"
        ) from error
