"""Which bases are refused by their configurations alone: no weights are there to be read."""

import json
from pathlib import Path

import pytest

from sfumato.core.errors import UserError
from sfumato.diffusion import suitable
from sfumato.diffusion.base import load_base, load_codec
from sfumato.diffusion.shapes import sd15_base

TINY = Path(suitable.location("tiny"))
FILES = {
    "unet": "unet/config.json", "vae": "vae/config.json", "text": "text_encoder/config.json", "schedule": "scheduler/scheduler_config.json",
    "index": "model_index.json",
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """A folder of the tiny base's configurations, and nothing else, with some settings changed (``None``: taken out)."""

    def made(**changes):
        for part, file in FILES.items():
            config = json.loads((TINY / file).read_text()) | changes.get(part, {})
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(json.dumps({key: value for key, value in config.items() if value is not OUT}))
        return tmp_path

    return made


OUT = object()
SDXL = {"addition_embed_type": "text_time", "cross_attention_dim": 2048, "projection_class_embeddings_input_dim": 2816}

OTHERS = {
    "sdxl": ({"unet": SDXL}, "SDXL"),
    "two text encoders": ({"index": {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}}, "two text encoders"),
    "sd3": ({"index": {"transformer": ["diffusers", "SD3Transformer2DModel"]}}, "transformer"),
    "deepfloyd": ({"unet": {"encoder_hid_dim_type": "text_proj", "encoder_hid_dim": 4096}}, "DeepFloyd"),
    "kandinsky": ({"unet": {"addition_embed_type": "image"}}, "Kandinsky"),
    "ip-adapter": ({"unet": {"encoder_hid_dim_type": "ip_image_proj"}}, "IP-Adapter"),
    "lcm": ({"unet": {"time_cond_proj_dim": 256}}, "LCM"),
    "upscaler by class": ({"unet": {"num_class_embeds": 1000}}, "upscaler"),
    "unclip": ({"unet": {"class_embed_type": "projection"}}, "unCLIP"),
    "gligen": ({"unet": {"attention_type": "gated"}}, "GLIGEN"),
    "inpainting": ({"unet": {"in_channels": 9}}, "inpainting"),
    "edits": ({"unet": {"in_channels": 8}}, "InstructPix2Pix"),
    "depth": ({"unet": {"in_channels": 5}}, "depth"),
    "upscaler": ({"unet": {"in_channels": 7}}, "upscaler"),
    "pixels": ({"unet": {"in_channels": 3}}, "DeepFloyd"),
    "true channels": ({"unet": {"in_channels": True}}, "channels"),
    "learned variance": ({"unet": {"out_channels": 8}}, "gives 8"),
    "video": ({"unet": {"_class_name": "UNetMotionModel"}}, "UNetMotionModel"),
    "another width": ({"unet": {"cross_attention_dim": 64}}, "64.*128"),
    "widths": ({"unet": {"cross_attention_dim": [128, 128, 64]}}, "attends"),
    "t5": ({"text": {"model_type": "t5"}}, "t5"),
    "flux vae": ({"vae": {"latent_channels": 16}}, "latent_channels 16"),
    "shifted": ({"vae": {"shift_factor": 0.1}}, "shift_factor"),
    "vq": ({"vae": {"_class_name": "VQModel"}}, "VQModel"),
    "factor 16": ({"vae": {"block_out_channels": [16] * 5, "down_block_types": ["DownEncoderBlock2D"] * 5}}, "16x16"),
    "no factor": ({"vae": {"block_out_channels": [16], "down_block_types": ["DownEncoderBlock2D"]}}, "1x1"),
    "scale of nothing": ({"vae": {"scaling_factor": 0}}, "scaling_factor"),
    "oblong": ({"unet": {"sample_size": [16, 24]}}, "square"),
    "no size": ({"unet": {"sample_size": OUT}}, "sample_size"),
    "a size of text": ({"unet": {"sample_size": "16"}}, "sample_size"),
    "an odd size": ({"unet": {"sample_size": 17}}, "multiple of 4"),
    "a huge size": ({"unet": {"sample_size": 10**9}}, "at most 512"),
    "no widths": ({"unet": {"block_out_channels": OUT}}, "block_out_channels"),
    "huge widths": ({"unet": {"block_out_channels": [10**9, 10**9, 10**9]}}, "block_out_channels"),
    "huge layers": ({"unet": {"layers_per_block": 10**9}}, "layers_per_block"),
    "huge words": ({"text": {"vocab_size": 10**12}}, "vocab_size"),
    "an unknown block": ({"unet": {"down_block_types": ["Nothing2D"] * 3}}, "ControlNet fits"),
    "norm that does not divide": ({"unet": {"norm_num_groups": 7}}, "ControlNet fits"),
    "x0": ({"schedule": {"prediction_type": "sample"}}, "epsilon or v_prediction"),
    "flow": ({"schedule": {"_class_name": "FlowMatchEulerDiscreteScheduler", "beta_start": OUT, "beta_end": OUT}}, "FlowMatch"),
    "no steps": ({"schedule": {"num_train_timesteps": OUT}}, "num_train_timesteps"),
    "huge steps": ({"schedule": {"num_train_timesteps": 10**12}}, "steps"),
    "one step": ({"schedule": {"num_train_timesteps": 1}}, "steps"),
    "noise that falls away": ({"schedule": {"beta_start": -0.1}}, "schedule"),
    "betas beyond one": ({"schedule": {"beta_schedule": "linear", "beta_end": 2.0}}, "schedule"),
    "betas of text": ({"schedule": {"beta_end": "much"}}, "schedule"),
    "an unknown schedule": ({"schedule": {"beta_schedule": "odd"}}, "schedule"),
    "zero snr": ({"schedule": {"rescale_betas_zero_snr": True}}, "schedule"),
    "too few betas": ({"schedule": {"trained_betas": [0.1, 0.2]}}, "steps"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_bases_are_named_and_refused_before_weights_are_read(write, case):
    changes, named = OTHERS[case]
    folder = write(**changes)
    for load in (load_codec, load_base):
        with pytest.raises(UserError, match=named) as caught:
            load(str(folder))
        assert caught.value.expected and caught.value.fix


@pytest.mark.parametrize("part", ["transformer", "text_encoder_2", "prior"])
def test_parts_of_other_families_are_seen_without_an_index(write, part):
    folder = write()
    (folder / "model_index.json").unlink()
    assert suitable.facts_of(str(folder)).side == 16
    (folder / part).mkdir()
    with pytest.raises(UserError, match=part):
        suitable.facts_of(str(folder))


@pytest.mark.parametrize("file", FILES.values())
@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 10**5, '{"sample_size": 1' + "0" * 400 + "}"])
def test_damaged_configurations_are_told(write, file, text):
    folder = write()
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=r"\.json"):
        load_codec(str(folder))


@pytest.mark.parametrize("part", ["unet", "vae", "text", "schedule"])
def test_missing_configurations_are_named(write, part):
    folder = write()
    (folder / FILES[part]).unlink()
    with pytest.raises(UserError, match=FILES[part]):
        load_codec(str(folder))


def test_equal_sides_are_one_side_and_settings_of_old_may_be_missing(write):
    old = {"schedule": {"prediction_type": OUT}, "vae": {"scaling_factor": OUT, "_class_name": OUT}}
    facts = suitable.facts_of(str(write(unet={"sample_size": [16, 16]}, **old)))
    assert facts.side == 16 and facts.prediction_type == "epsilon"


def test_the_tiny_bases_facts_are_its_configurations():
    facts = suitable.facts_of("tiny")
    assert (facts.side, facts.prediction_type, facts.schedule.steps) == (16, "epsilon", 1000)


@pytest.mark.parametrize("family", ["sd15", "sd21"])
def test_true_stable_diffusions_pass(write, family):
    """The published settings of SD 1.5 and of SD 2.1, of which nothing is ever built."""
    import torch

    with torch.device("meta"):
        base = sd15_base()
    unet, vae = dict(base.unet.config), dict(base.vae.config)
    text, schedule = base.text_encoder.config.to_dict(), {"num_train_timesteps": 1000}
    if family == "sd21":
        unet |= {"sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
        text |= {"hidden_size": 1024, "num_hidden_layers": 23, "num_attention_heads": 16, "intermediate_size": 4096}
        schedule |= {"prediction_type": "v_prediction"}
    facts = suitable.facts_of(str(write(unet=unet, vae=vae, text=text, schedule=schedule)))
    assert (facts.side, facts.prediction_type) == ((64, "epsilon") if family == "sd15" else (96, "v_prediction"))


def test_a_tokenizer_of_more_words_than_the_encoder_takes(mini, tmp_path):
    import shutil

    folder = shutil.copytree(mini, tmp_path / "copy")
    config = folder / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 500}))
    with pytest.raises(UserError, match="500 words"):
        load_base(str(folder))


def test_weights_that_do_not_fit_are_told(mini, tmp_path):
    import shutil

    folder = shutil.copytree(mini, tmp_path / "copy")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="its vae could not be loaded"):
        load_codec(str(folder))
