"""What several tests need: recipes as modules, a random-weight base that diffusers itself writes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

KILLS = int(os.environ.get("SFUMATO_TEST_KILLS", "3"))  # how often a run is killed before it may end


def load_recipe(name: str, *, folder: str = "recipes") -> ModuleType:
    """The module ``recipes/NAME.py``, or of another folder, which is in no package."""
    return _load(Path(__file__).parents[1] / folder / f"{name}.py", name)


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def few_steps(patch, *modules: ModuleType, steps: int = 3) -> None:
    """Let ``modules`` sample in so many steps, where nobody looks at what they draw."""
    for module in modules:
        patch.setattr(module, "sample", partial(_in_steps, module.sample, steps))


def _in_steps(sample, few, /, *given, **how):
    return sample(*given, **{**how, "steps": few})


def owners_here(patch) -> None:
    """Let owners of live schemes answer in this process, frame by frame as in their own: tests of the schemes have real ones."""
    from sfumato.schemes import _wire

    patch.setattr(_wire, "Remote", _wire.Local)


def load_benchmark(name: str) -> ModuleType:
    """The module ``benchmarks/NAME.py``, which is in no package."""
    return _load(Path(__file__).parents[1] / "benchmarks" / f"{name}.py", f"{name}_benchmark")


def write_pipeline(folder: Path, *, family: str) -> Path:
    """Write a random-weight pipeline: ``mini`` (32 px, factor 4), ``sd15`` or ``sd21`` (their block structure, thin)."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    levels = 3 if family == "mini" else 4
    size = 32 if family == "mini" else 64
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=size, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8,) * levels, down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels, scaling_factor=0.9,
    )  # fmt: skip
    unet_levels = 2 if family == "mini" else 4
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4, cross_attention_dim=16,
        block_out_channels=(8, 16, 16, 16)[:unet_levels],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D") if family == "mini" else ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=(("CrossAttnUpBlock2D", "UpBlock2D") if family == "mini" else ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3),
        attention_head_dim=(2 if family != "sd21" else (2, 4, 4, 4)), use_linear_projection=family == "sd21",
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    words = folder / "words"
    words.mkdir()
    letters = [chr(c) for c in range(97, 123)]
    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for letter in letters:
        vocab[letter] = len(vocab)
        vocab[f"{letter}</w>"] = len(vocab)
    (words / "vocab.json").write_text(json.dumps(vocab))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=12)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocab), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=12, projection_dim=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
        prediction_type="v_prediction" if family == "sd21" else "epsilon",
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


def acting_controlnet(base):
    """A ControlNet whose zero convolutions are no longer zero: it changes what is drawn, and gradients reach all of it."""
    from sfumato.diffusion import controlnet as nets

    model = nets.new_controlnet(base, generator=torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
    return model


def public_and_private(base, *, public: int = 64, private: int = 24):
    """Open peeps for attacks on the shipped base: what an attacker may train on, and latents of private people with their conditions."""
    import numpy as np

    from sfumato.attacker.knowledge import Public
    from sfumato.core import registry
    from sfumato.features.identity import half
    from sfumato.pictures import store

    def latents(images):
        edges = np.stack([registry.get("conditions", "canny").extract(image) for image in images])
        return base.encode_pixels(images), base.encode_pixels(edges)

    seen = store.load("open-peeps", "public", 2 * public, seed=77, per_identity=4)
    rows = [i for i, person in enumerate(seen.identities) if half(person) == 1]
    images = seen.images[rows]
    known = Public(images, *latents(images), [seen.identities[i] for i in rows], [seen.captions[i] for i in rows])
    own = store.load("open-peeps", "recombined", private, seed=78, per_identity=4)
    return known, own, *latents(own.images)


def sealing(base, n: int, m: int | None):
    """A mechanism that seals pictures at n and conditions at m (None: none leaves)."""
    from sfumato.attacker.knowledge import Conditions, Latents, Mechanism, Scenario

    def noised(x, step, draws):
        if step < 0:
            return x[None].clone()
        alpha, sigma = float(base.schedule.alpha(step)), float(base.schedule.sigma(step))
        return (alpha * x + sigma * torch.randn(x.shape, generator=draws))[None]

    def push(z_0, c, draws):
        steps = [Latents(noised(z_0, n, draws), torch.full((1, len(z_0)), n))]
        return Scenario(*steps, *([] if m is None else [Conditions(noised(c, m, draws), torch.full((1, len(c)), m))]))

    return Mechanism(push)


def plug_in(patch, folder: Path, entries: dict[str, dict[str, str]], *, name: str = "stranger", **modules: str) -> None:
    """Install a distribution: ``entries`` by group and name, and its modules' sources."""
    from sfumato.core import registry

    (facts := folder / f"{name}-1.0.dist-info").mkdir(parents=True, exist_ok=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = (f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()) for group, found in entries.items())
    (facts / "entry_points.txt").write_text("\n".join(groups))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
        patch.delitem(sys.modules, module, raising=False)
    patch.syspath_prepend(folder)
    registry.forget()


def code_blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of this kind in a page, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
