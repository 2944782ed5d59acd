"""Files as other programs write them: read where they are plain LoRA of SD, else named for what they are."""

import json
import math
import os

import pytest
import torch

from sfumato.adapters import formats
from sfumato.adapters.conventions import TEXT, other_kind, split
from sfumato.adapters.lora import check_fits
from sfumato.core.artifact import to_bytes, write_json
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator

PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
LAYER = f"unet.{PATH}"
KOHYA = "lora_unet_" + PATH.replace(".", "_")
SELF = "encoder.layers.0.self_attn.q_proj"


def pair(rank=2, wide=4, high=6):
    return torch.randn((rank, wide), generator=generator(0)), torch.randn((high, rank), generator=generator(1))


def peft(stem, **how):
    a, b = pair(**how)
    return {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}


def kohya(stem=KOHYA, **how):
    a, b = pair(**how)
    return {f"{stem}.lora_down.weight": a, f"{stem}.lora_up.weight": b, f"{stem}.alpha": torch.tensor(1.0)}


def parse(tensors, notes=None):
    return formats.parse(to_bytes(tensors, notes), name="x.safetensors")


def refusal(tensors, notes=None):
    with pytest.raises(UserError) as raised:
        parse(tensors, notes)
    assert "fetch" not in str(raised.value) and raised.value.got.startswith("x.safetensors")
    return str(raised.value)


# ---------------------------------------------------------------- other kinds


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("dora_scale", "DoRA"),  # kohya, OneTrainer
        ("lora_magnitude_vector", "DoRA"),  # diffusers
        ("lora_magnitude_vector.weight", "DoRA"),
        ("lora_magnitude_vector.default.weight", "DoRA"),  # PEFT
        ("magnitude", "DoRA"),  # ai-toolkit
        ("lora_magnitude", "DoRA"),
        ("dora_magnitude", "DoRA"),
        ("weight_decompose", "DoRA"),
        ("a1.weight", "GLoRA"),
        ("b2.weight", "GLoRA"),
        ("glora_A.default", "GLoRA"),
        ("hada_w1_a", "LoHa"),
        ("hada_t2", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("lokr_w2_b.default", "LoKr"),
        ("oft_blocks", "OFT"),
        ("oft_diag", "OFT"),
        ("oft_R.weight", "OFT"),
        ("oft_R.default.weight", "OFT"),
        ("rescale", "OFT"),
        ("boft_R", "BOFT"),
        ("ia3_l", "IA3"),
        ("on_input", "IA3"),
        ("diff_w", "diff"),
        ("w_norm", "norms"),
        ("b_norm", "norms"),
        ("lora_mid.weight", "LoCon"),
        ("lora_up.bias", "biases"),
        ("lora_B.bias", "biases"),
        ("lora_E", "AdaLoRA"),
        ("vera_lambda_b", "VeRA"),
        ("hra_u.default", "PEFT"),
        ("lora_embedding_A", "embedding"),
        ("scale_weight", "8-bit"),
    ],
)
@pytest.mark.parametrize("stem", [KOHYA, LAYER, f"base_model.model.{PATH}"])
def test_a_kind_is_named_whoever_wrote_it_and_beside_a_plain_pair(stem, ending, kind):
    marked = {f"{stem}.{ending}": torch.ones(2, 2)}
    assert kind in refusal(marked)
    assert kind in refusal({**kohya("lora_unet_conv_in"), **marked})


@pytest.mark.parametrize(
    "name",
    [
        "soft_sitter.clip_l",
        "oft_blocks.clip_l",
        "hada_w1_a",
        "dora_scale.clip_g",
        "magnitude",
        "a1.weight",
        "x.alpha",
        "x.lora_down.weight",
    ],
)
def test_a_bundled_embedding_may_be_called_anything(name):
    key = f"bundle_emb.{name}"
    read = parse({**kohya(), key: torch.ones(1, 4)})
    assert read.unknown == (key,) and list(read.factors) == [LAYER]


@pytest.mark.parametrize("key", ["soft_diff.weight", "my_oft_blocks_notes", "emb.magnitudes", "diff", "unet.oft.lora_A.weight"])
def test_letters_in_a_name_are_no_kind(key):
    assert other_kind(key) is None


def test_notes_that_say_dora_or_a_changed_base_are_believed():
    for said in ({"unet.use_dora": True}, {"use_dora": True}, {"unet.init_lora_weights": "pissa_niter_16"}):
        assert "notes say" in refusal(peft(LAYER), {"lora_adapter_metadata": json.dumps(said)})
    plain = {"unet.use_dora": False, "unet.init_lora_weights": "gaussian"}
    assert parse(peft(LAYER), {"lora_adapter_metadata": json.dumps(plain)}).alphas == {LAYER: 2}


# ---------------------------------------------------------------- other models


@pytest.mark.parametrize(
    ("stem", "model"),
    [
        ("lora_unet_double_blocks_0_img_attn_proj", "Flux"),
        ("transformer.single_transformer_blocks.0.attn.to_q", "Flux"),
        ("diffusion_model.double_blocks.0.img_attn.qkv", "Flux"),
        ("double_blocks.0.img_attn.qkv", "Flux"),
        ("lora_transformer_single_transformer_blocks_0_attn_to_q", "Flux"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", "SDXL"),
        ("lora_unet_middle_block_1_proj_in", "SDXL"),
        ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", "SDXL"),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj", "SDXL"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", "SD 3"),
        ("transformer.transformer_blocks.0.attn.to_q", "transformer"),
        ("base_model.model.transformer_blocks.0.attn.to_q", "transformer"),
        ("lycoris_transformer_blocks_0_attn_to_q", "transformer"),
        ("diffusion_model.blocks.0.self_attn.q", "Wan"),
        ("diffusion_model.input_blocks.1.1.proj_in", "SDXL"),
        ("unet.down_blocks.0.motion_modules.0.temporal_transformer.proj_in", "AnimateDiff"),
        ("base_model.model.model.layers.0.self_attn.q_proj", "language model"),
        ("lora_prior_unet_down_blocks_0", "Cascade"),
    ],
)
def test_another_model_is_named(stem, model):
    for tensors in (peft(stem), kohya(stem)):
        assert model in refusal(tensors) and "1.x or 2.x" in refusal({**kohya("lora_te1_text_model_" + SELF.replace(".", "_")), **tensors})


# ---------------------------------------------------------------- which part


@pytest.mark.parametrize(
    "stem", [PATH, f"base_model.model.{PATH}", f"unet.{PATH}", f"base_model.model.unet.{PATH}", f"unet.base_model.model.{PATH}"]
)
def test_keys_without_a_part_are_the_unets(stem):
    assert list(parse(peft(stem)).factors) == [LAYER]
    a, b = pair()
    whole = {f"{stem}.lora_A.default.weight": a, f"{stem}.lora_B.default.weight": b}  # a whole model's weights, with the adapter's name
    assert list(parse(whole).factors) == [LAYER]


def test_the_first_files_of_diffusers_named_no_part():
    a, b = pair()
    stem = "mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora"
    assert list(parse({f"{stem}.down.weight": a, f"{stem}.up.weight": b}).factors) == [LAYER]


@pytest.mark.parametrize("stem", [SELF, f"text_model.{SELF}", f"base_model.model.text_model.{SELF}", f"base_model.model.{SELF}"])
def test_keys_of_a_text_encoder_alone_are_its(stem):
    assert list(parse(peft(stem)).factors) == [TEXT + SELF]


def test_lycoris_names_read_as_kohyas():
    assert split("lycoris_" + PATH.replace(".", "_") + ".lora_down.weight") == (LAYER, "A")


def test_a_pair_under_two_names_is_refused():
    assert "twice" in refusal({**peft(LAYER), **peft(f"base_model.model.{PATH}")})


# ---------------------------------------------------------------- the scale


def scale(notes, *, key="lora_adapter_metadata", stem=LAYER, rank=4):
    (found,) = parse(peft(stem, rank=rank), {key: json.dumps(notes)}).alphas.values()
    return found / rank


@pytest.mark.parametrize("key", ["lora_adapter_metadata", "adapter_config", "peft_config"])
@pytest.mark.parametrize("prefix", ["unet.", ""])
def test_rank_stabilised_adapters_scale_by_the_root(key, prefix):
    said = {f"{prefix}lora_alpha": 6, f"{prefix}use_rslora": True}
    assert math.isclose(scale(said, key=key), 6 / math.sqrt(4))
    assert math.isclose(scale(said | {f"{prefix}use_rslora": False}, key=key), 6 / 4)
    assert math.isclose(scale(said | {f"{prefix}alpha_pattern": {"attn1.to_q": 3}}, key=key), 3 / 2)
    assert math.isclose(
        scale(said | {f"{prefix}alpha_pattern": {r"^mid_block\.attentions\.0\.transformer_blocks\.0\.attn1\.to_q$": 3}}), 3 / 2
    )


def test_the_rank_is_the_tensors_whatever_the_notes_say():
    assert math.isclose(scale({"unet.r": 64, "unet.rank_pattern": {"to_q": 32}, "unet.lora_alpha": 8, "unet.use_rslora": True}), 8 / 2)


def test_each_part_has_its_own_settings():
    notes = {"unet.lora_alpha": 8, "unet.use_rslora": True, "text_encoder.lora_alpha": 2}
    read = parse({**peft(LAYER), **peft(TEXT + SELF)}, {"lora_adapter_metadata": json.dumps(notes)})
    assert math.isclose(read.alphas[LAYER] / 2, 8 / math.sqrt(2)) and read.alphas[TEXT + SELF] == 2
    patterned = {"text_encoder.alpha_pattern": {f"text_model.{SELF}": 7}}
    assert parse(peft(TEXT + SELF), {"lora_adapter_metadata": json.dumps(patterned)}).alphas == {TEXT + SELF: 7}


def test_an_alpha_among_the_tensors_counts_before_notes():
    read = parse(kohya(), {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8, "unet.use_rslora": True})})
    assert read.alphas == {LAYER: 1}


@pytest.mark.parametrize("said", ["true", 1, 0.5, [], {}])
def test_a_switch_that_is_none_is_refused(said):
    assert "use_rslora" in refusal(peft(LAYER), {"lora_adapter_metadata": json.dumps({"unet.use_rslora": said})})


def test_a_pattern_is_text_and_never_run():
    hostile = {"unet.alpha_pattern": {"(a+)+" * 20 + "$": 3, "(": 4}}
    assert scale(hostile) == 1  # the rank's own: no pattern fits


def test_the_settings_that_peft_writes_beside_its_file(tmp_path):
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(to_bytes(peft(f"base_model.model.{PATH}"), {"format": "pt"}))
    assert formats.read(file).alphas == {LAYER: 2}
    write_json(tmp_path / "adapter_config.json", {"lora_alpha": 8, "r": 2, "use_rslora": True})
    assert math.isclose(formats.read(file).alphas[LAYER] / 2, 8 / math.sqrt(2))
    for said in ("[1]", "{", '{"lora_alpha": -1}', '{"use_dora": true}'):
        (tmp_path / "adapter_config.json").write_text(said)
        with pytest.raises(UserError):
            formats.read(file)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64])
def test_every_width_of_number_is_read(dtype):
    tensors = {key: value.to(dtype) for key, value in kohya().items()}
    read = parse(tensors)
    assert read.alphas == {LAYER: 1} and read.factors[LAYER][0].dtype == torch.float32
    assert torch.allclose(read.factors[LAYER][0], pair()[0], atol=0.3)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_what_is_no_number_of_weights_is_refused(dtype):
    tensors = kohya()
    for key in (f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"):
        assert "floating-point" in refusal({**tensors, key: tensors[key].abs().to(dtype)})


@pytest.mark.parametrize(
    "alpha", [torch.tensor(-1.0), torch.tensor(1e13), torch.tensor(float("inf")), torch.tensor([]), torch.tensor(1j), torch.tensor(True)]
)
def test_an_alpha_that_is_none(alpha):
    assert "alpha" in refusal({**kohya(), f"{KOHYA}.alpha": alpha})


def test_finite_factors_with_a_product_that_is_not():
    a, b = pair()
    tensors = {f"{LAYER}.lora_A.weight": a * 1e30, f"{LAYER}.lora_B.weight": b * 1e30}
    assert "may add" in refusal(tensors)


# ---------------------------------------------------------------- what is no file of ours


def endless(tmp_path):
    (tmp_path / "endless.safetensors").symlink_to("/dev/zero")
    return tmp_path / "endless.safetensors"


def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    return tmp_path / "pipe.safetensors"


def sparse(tmp_path, size=3 * 2**30):
    with open(tmp_path / f"{size}.safetensors", "wb") as file:
        file.truncate(size)
    return tmp_path / f"{size}.safetensors"


@pytest.mark.parametrize("make", [endless, pipe, sparse, lambda path: sparse(path, 2**40), lambda path: path, lambda path: path / "x\0y"])
def test_it_is_refused_before_it_is_read(tmp_path, make, monkeypatch):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError):
        formats.read(make(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_what_is_read_still_has_to_fit(base):
    with pytest.raises(UserError, match="SDXL"):
        check_fits(parse(peft(LAYER)), base)
