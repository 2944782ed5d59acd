"""Train the tiny base that ships in ``sfumato/assets/tiny``: a small but real Stable Diffusion, on public pictures only.

    python recipes/train_tiny_base.py render      # ~2 minutes: public pictures into one packed file
    python recipes/train_tiny_base.py vae         # checkpointed; run again to resume
    python recipes/train_tiny_base.py unet        # UNet and text encoder; exports its EMA while it trains
    python recipes/evaluate_tiny_base.py          # measures it on held-out people and writes the model card

A base that ships undertrained is continued with ``unet --warm src/sfumato/assets/tiny`` and, so that its latents stay the same,
``vae --warm ... --decoder-only``; the UNet's stage takes the shipped VAE where ``--work`` holds none.

Every stage resumes from its checkpoint in ``--work`` and continues to ``--steps``. The learning rate falls as a
cosine to zero at ``--steps``; training further means raising ``--steps``, which starts a new, warm-started cycle.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sfumato.core.device import choose_precision
from sfumato.pictures import avatars, fill50k

MIX = {"open-peeps": 9600, "adventurer": 4800, "big-ears": 4800, "fill50k": 2400}
TOKENS = 32
ASSETS = Path(__file__).parent.parent / "src/sfumato/assets/tiny"


# ---------------------------------------------------------------- pictures


def _public(style: str, start: int, stop: int, seed: int) -> tuple[np.ndarray, list[str]]:
    draw = (lambda i: fill50k.shape(i, seed=seed)) if style == "fill50k" else (lambda i: avatars.picture(style, "public", i, seed=seed))
    pictures = [draw(i) for i in range(start, stop)]
    return np.stack([p.image for p in pictures]), [p.caption for p in pictures]


def edges(images: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Canny maps at random thresholds, white on black: conditions go through the VAE too."""
    maps = [cv2.Canny(image, low, low * 2) for image, low in zip(images, generator.integers(50, 150, len(images)), strict=True)]
    return np.repeat(np.stack(maps)[..., None], 3, axis=-1)


def render(args: argparse.Namespace) -> None:
    images, captions = [], []
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(_public, style, i, min(i + 400, n), args.seed) for style, n in MIX.items() for i in range(0, n, 400)]
        for job in jobs:
            part, words = job.result()
            images.append(part)
            captions += words
    args.work.mkdir(parents=True, exist_ok=True)
    save_file({"images": np.concatenate(images)}, args.work / "pictures.safetensors")
    (args.work / "captions.json").write_text(json.dumps(captions))
    print(f"rendered {len(captions)} public pictures")


def load_pictures(work: Path) -> tuple[np.ndarray, list[str]]:
    return load_file(work / "pictures.safetensors")["images"], json.loads((work / "captions.json").read_text())


# ---------------------------------------------------------------- training machinery


class Trainer:
    """Adam, EMA, warm-up and cosine, and a checkpoint that survives a kill."""

    def __init__(self, modules: torch.nn.ModuleDict, path: Path, *, lr: float, steps: int, ema: float, warm: Path | None = None) -> None:
        self.modules, self.path, self.lr, self.steps, self.decay = modules, path, lr, steps, ema
        self.optimiser = torch.optim.AdamW(modules.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-3)
        self.average = {k: v.detach().clone() for k, v in modules.state_dict().items()}
        self.step, self.first, self.seconds = 0, 0, 0.0
        if path.exists():
            state = torch.load(path, weights_only=True)
            modules.load_state_dict(state["modules"])
            self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
            self.first = state["first"]
            if state["steps"] == steps:
                self.optimiser.load_state_dict(state["optimiser"])
            else:
                self.first = self.step
        elif warm is not None:
            for name, module in modules.items():
                module.load_state_dict(type(module).from_pretrained(warm, subfolder=name).state_dict())
            done = json.loads((warm / "training.json").read_text())[path.stem]
            self.step = self.first = done["step"]
            self.seconds = done["seconds"]
            self.average = {k: v.detach().clone() for k, v in modules.state_dict().items()}
        self.started = time.monotonic() - self.seconds

    def update(self, loss: torch.Tensor) -> None:
        loss.backward()
        done = (self.step - self.first) / max(1, self.steps - self.first)
        rate = self.lr * min(1.0, (self.step - self.first + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.modules.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)

    def save(self) -> None:
        self.seconds = time.monotonic() - self.started
        state = {"modules": self.modules.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(),
                 "step": self.step, "steps": self.steps, "first": self.first, "seconds": self.seconds}  # fmt: skip
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path)


def fast() -> torch.autocast:
    """bf16 where this machine multiplies it natively."""
    return torch.autocast("cpu", torch.bfloat16, enabled=choose_precision() == "bf16")


def batches(n: int, size: int, *, generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from np.array_split(generator.permutation(n), n // size)


# ---------------------------------------------------------------- VAE


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=64, layers_per_block=1, norm_num_groups=8,
        block_out_channels=(16, 32, 64), down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False, scaling_factor=1.0,
    )  # fmt: skip


def train_vae(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    images, _ = load_pictures(args.work)
    vae = new_vae().to(memory_format=torch.channels_last)
    trainer = Trainer(
        torch.nn.ModuleDict({"vae": vae}), args.work / "vae.pt", lr=args.lr or 1.2e-3, steps=args.steps, ema=0.998, warm=args.warm
    )
    if args.decoder_only:  # latents stay what the UNet knows
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    draw = np.random.default_rng([args.seed, trainer.step])
    order = batches(len(images), args.batch, generator=draw)
    maps = max(1, round(args.batch * args.edges))
    while trainer.step < args.steps:
        pictures = images[next(order)]
        pictures = np.concatenate([pictures[maps:], edges(pictures[:maps], generator=draw)])
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        with fast():
            posterior = vae.encode(x).latent_dist
            error = vae.decode(posterior.sample()).sample.float() - x
        seen = error[:-maps]
        slope = sum((seen.diff(dim=d)).abs().mean() for d in (2, 3))
        reconstruction = error.square().mean() + 0.2 * seen.abs().mean() + 0.2 * slope
        trainer.update(reconstruction + 1e-6 * posterior.kl().mean())
        if trainer.step % 100 == 0 or trainer.step == args.steps:
            psnr = 10 * math.log10(4 / seen.square().mean().item())
            lines = 10 * math.log10(4 / error[-maps:].square().mean().item())
            print(
                f"vae {trainer.step}/{args.steps} psnr {psnr:.2f} edges {lines:.2f} {time.monotonic() - trainer.started:.0f} s", flush=True
            )
            trainer.save()


def trained_vae(work: Path) -> AutoencoderKL:
    """The averaged VAE, its scaling factor set so that public latents have unit standard deviation."""
    vae = new_vae()
    if (work / "vae.pt").exists():
        state = torch.load(work / "vae.pt", weights_only=True)
        vae.load_state_dict({k.removeprefix("vae."): v for k, v in state["average"].items()})
    else:
        vae.load_state_dict(AutoencoderKL.from_pretrained(ASSETS, subfolder="vae").state_dict())
    vae.eval().requires_grad_(False)
    images, _ = load_pictures(work)
    vae.register_to_config(scaling_factor=round(1 / encode(vae, images[::20]).std().item(), 5))
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> torch.Tensor:
    """Posterior means of ``images`` uint8 ``(N, 64, 64, 3)``, unscaled, shape ``(N, 4, 16, 16)``."""
    parts = [torch.from_numpy(images[i : i + 64]).permute(0, 3, 1, 2).float() / 127.5 - 1 for i in range(0, len(images), 64)]
    return torch.cat([vae.encode(x).latent_dist.mean for x in parts])


# ---------------------------------------------------------------- text and UNet


def new_tokenizer(captions: list[str], folder: Path) -> CLIPTokenizer:
    """Byte-pair encoding trained on the captions, in CLIP's file format."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    alphabet = [chr(c) for c in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=768, special_tokens=[start, end], initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    for character in alphabet:  # every character must also exist as a word of its own
        vocab.setdefault(f"{character}</w>", len(vocab))
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    merges = "\n".join(" ".join(m) if isinstance(m, list) else m for m in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS)


def new_text_encoder(vocabulary: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=TOKENS, projection_dim=128, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return CLIPTextModel(config)


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 128, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


def schedule() -> dict[str, object]:
    return {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "clip_sample": False, "prediction_type": "epsilon", "steps_offset": 1}  # fmt: skip


def train_unet(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    vae = trained_vae(args.work)
    images, captions = load_pictures(args.work)
    latents = encode(vae, images) * vae.config.scaling_factor
    tokenizer = new_tokenizer(captions, args.work / "tokenizer")
    tokens = torch.tensor(tokenizer(captions, padding="max_length", truncation=True, max_length=TOKENS)["input_ids"])
    empty = torch.tensor(tokenizer([""], padding="max_length", max_length=TOKENS)["input_ids"])
    unet = new_unet().to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # on 64 tokens faster than the fused kernel, whose backward is slow on a CPU
    text = new_text_encoder(len(tokenizer))
    modules = torch.nn.ModuleDict({"unet": unet, "text_encoder": text})
    print({name: sum(p.numel() for p in m.parameters()) for name, m in modules.items()}, "latent std", latents.std().item(), flush=True)
    trainer = Trainer(modules, args.work / "unet.pt", lr=args.lr or 8e-4, steps=args.steps, ema=0.999, warm=args.warm)
    alpha_bar = DDPMScheduler(**schedule()).alphas_cumprod
    weight = torch.clamp(5.0 / (alpha_bar / (1 - alpha_bar)), max=1.0)  # min-SNR, gamma 5
    draw = np.random.default_rng([args.seed, trainer.step])
    order = batches(len(images), args.batch, generator=draw)
    exported, losses = time.monotonic(), []
    while trainer.step < args.steps:
        index = torch.from_numpy(next(order))
        z_0, words = latents[index], tokens[index]
        words = torch.where(torch.rand(len(index), 1) < 0.1, empty, words)
        # One stratified draw of t over the batch: less variance, same law.
        t = ((torch.arange(len(index)) + torch.rand(len(index))) / len(index) * 1000).long()
        eps = torch.randn_like(z_0)
        scale = alpha_bar[t].view(-1, 1, 1, 1)
        z_t = scale.sqrt() * z_0 + (1 - scale).sqrt() * eps
        z_t = z_t.contiguous(memory_format=torch.channels_last)
        with fast():
            predicted = unet(z_t, t, encoder_hidden_states=text(words).last_hidden_state).sample
        error = (predicted.float() - eps).square().mean(dim=(1, 2, 3))
        trainer.update((weight[t] * error).mean())
        losses.append(error.mean().item())
        if trainer.step % 200 == 0 or trainer.step == args.steps:
            print(
                f"unet {trainer.step}/{args.steps} loss {np.mean(losses[-200:]):.4f} {time.monotonic() - trainer.started:.0f} s", flush=True
            )
            trainer.save()
            if time.monotonic() - exported > 1800 or trainer.step == args.steps:
                export(args)
                exported = time.monotonic()


def export(args: argparse.Namespace) -> None:
    """Write the averaged weights as a diffusers ``StableDiffusionPipeline`` folder in fp16."""
    state = torch.load(args.work / "unet.pt", weights_only=True)
    folder = args.work / "tokenizer"
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS)
    modules = torch.nn.ModuleDict({"unet": new_unet(), "text_encoder": new_text_encoder(len(tokenizer))})
    modules.load_state_dict(state["average"])
    pipe = StableDiffusionPipeline(
        vae=trained_vae(args.work), text_encoder=modules["text_encoder"], tokenizer=tokenizer, unet=modules["unet"],
        scheduler=DDIMScheduler(set_alpha_to_one=False, **schedule()), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.to(torch.float16).save_pretrained(args.out)
    trained = {"unet": {k: state[k] for k in ("step", "seconds")}, "warm_start": args.warm is not None}
    if (args.work / "vae.pt").exists():
        vae_state = torch.load(args.work / "vae.pt", weights_only=True)
        trained["vae"] = {k: vae_state[k] for k in ("step", "seconds")}
    trained |= {"pictures": MIX, "seed": args.seed, "threads": torch.get_num_threads(), "device": "cpu"}
    (args.out / "training.json").write_text(json.dumps(trained, indent=1) + "\n")
    print("exported", args.out, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["render", "vae", "unet", "export"])
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"), help="pictures and checkpoints")
    parser.add_argument("--out", type=Path, default=ASSETS, help="where the base is written")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--edges", type=float, default=0.4, help="vae: share of a batch that is edge maps")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--warm", type=Path, help="without a checkpoint, start from this base's weights, such as the one that ships")
    parser.add_argument("--decoder-only", action="store_true", help="vae: keep the encoder as it is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    {"render": render, "vae": train_vae, "unet": train_unet, "export": export}[args.stage](args)


if __name__ == "__main__":
    main()
