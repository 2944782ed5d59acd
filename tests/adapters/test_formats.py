"""LoRA files: what others load, what comes back, what is refused."""

import io
import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import save

from adapters_support import adapter_of
from sfumato.adapters import formats
from sfumato.adapters.conventions import TEXT
from sfumato.adapters.lora import Adapter, attached
from sfumato.core.artifact import metadata_of, to_bytes
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def same(one, two):
    """The same adapter, by what it does."""
    ours, theirs = one.deltas(), two.deltas()
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


def pair(rank=2, wide=4, high=6):
    return torch.randn((rank, wide), generator=generator(0)), torch.randn((high, rank), generator=generator(1))


def keys(a, b, layer=LAYER):
    return {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}


def parse(tensors, notes=None):
    return formats.parse(to_bytes(tensors, notes), name="x.safetensors")


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize(
    "settings", [{}, {"lora_alpha": 27, "text_alpha": 17}, {"text_targets": ()}, {"targets": ("to_out.0", "ff.net.2")}]
)
def test_what_is_written_is_read_back(base, tmp_path, format, settings):
    made = adapter_of(base, **settings)
    formats.write(made, tmp_path / "x.safetensors", format=format)
    read = formats.read(tmp_path / "x.safetensors")
    assert same(made, read) and read.alphas == made.alphas and read.unknown == ()
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("format", formats.FORMATS)
def test_layers_of_different_rank_and_alpha(base, tmp_path, format):
    made = adapter_of(base)
    factors = {name: (a[: 1 + i % 3], b[:, : 1 + i % 3]) for i, (name, (a, b)) in enumerate(made.factors.items())}
    mixed = Adapter(factors=factors, alphas={name: 1.0 + i % 2 for i, name in enumerate(factors)})
    formats.write(mixed, tmp_path / "x.safetensors", format=format)
    read = formats.read(tmp_path / "x.safetensors")
    assert same(mixed, read) and read.ranks == mixed.ranks


def test_kohya_keys_are_those_that_others_use(base, tmp_path):
    formats.write(adapter_of(base), tmp_path / "x.safetensors", format="kohya")
    from safetensors.torch import load_file

    found = load_file(tmp_path / "x.safetensors")
    assert "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight" in found
    assert found["lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha"] == 6
    assert {key.rpartition("lora_")[2] if "lora_down" in key or "lora_up" in key else "alpha" for key in found} == {
        "down.weight", "up.weight", "alpha",
    }  # fmt: skip


@pytest.mark.parametrize("which", ["mixed", "plain", "paper"])
@pytest.mark.parametrize("format", formats.FORMATS)
def test_the_stock_pipeline_loads_it_and_draws_the_same(base, mini, tmp_path, format, which):
    from diffusers import StableDiffusionPipeline

    settings = {"lora_alpha": 27.0, "text_alpha": 17.0} if which == "paper" else {}
    if format == "kohya":  # by which diffusers tells the format of a text encoder's part
        settings["text_targets"] = ("q_proj", "v_proj", "out_proj")
    made = adapter_of(base, **settings)
    if which == "mixed" and format == "diffusers":
        factors = {name: (a[: 1 + i % 3], b[:, : 1 + i % 3]) for i, (name, (a, b)) in enumerate(made.factors.items())}
        made = Adapter(factors=factors, alphas={name: 1.0 + i % 2 for i, name in enumerate(factors)})
    formats.write(made, tmp_path / "x.safetensors", format=format)
    pipe = StableDiffusionPipeline.from_pretrained(mini, safety_checker=None, requires_safety_checker=False)
    pipe.load_lora_weights(tmp_path, weight_name="x.safetensors")
    z_t, t = torch.randn((2, 4, 8, 8), generator=generator(3)), torch.tensor([10, 900])
    ids = base.tokenizer(["ab", "c"], padding="max_length", max_length=12, return_tensors="pt").input_ids
    with torch.no_grad():
        theirs = pipe.unet(z_t, t, encoder_hidden_states=pipe.text_encoder(ids).last_hidden_state).sample
        plain = base.unet(z_t, t, encoder_hidden_states=base.text_encoder(ids).last_hidden_state).sample
        with attached(base, made):
            ours = base.unet(z_t, t, encoder_hidden_states=base.text_encoder(ids).last_hidden_state).sample
    assert torch.allclose(ours, theirs, atol=2e-5) and not torch.allclose(ours, plain, atol=1e-2)


def test_pictures_of_the_stock_pipeline_are_those_of_the_attached_base(base, mini, tmp_path):
    from diffusers import StableDiffusionPipeline

    made = adapter_of(base)
    formats.write(made, tmp_path / "x.safetensors")
    pipe = StableDiffusionPipeline.from_pretrained(mini, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    start = torch.randn((1, 4, 8, 8), generator=generator(4))
    how = {"prompt": "ab", "num_inference_steps": 3, "latents": start, "output_type": "latent"}
    plain = pipe(**how).images
    pipe.load_lora_weights(tmp_path / "x.safetensors")
    theirs = pipe(**how).images
    pipe.unload_lora_weights()
    pipe.unet, pipe.text_encoder = base.unet, base.text_encoder
    with attached(base, made):
        ours = pipe(**how).images
    assert torch.allclose(ours, theirs, atol=1e-4) and not torch.allclose(ours, plain, atol=1e-2)


# ---------------------------------------------------------------- what the file says


def test_the_header_says_nothing_but_shapes_and_alpha(base, tmp_path):
    formats.write(adapter_of(base), tmp_path / "secret-folder.safetensors")
    notes = metadata_of((tmp_path / "secret-folder.safetensors").read_bytes())
    assert notes.keys() == {"format", "lora_adapter_metadata"}
    said = json.loads(notes["lora_adapter_metadata"])
    assert {key.partition(".")[2] for key in said} == {"r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern"}
    formats.write(adapter_of(base), tmp_path / "k.safetensors", format="kohya")
    assert metadata_of((tmp_path / "k.safetensors").read_bytes()) == {"format": "pt"}


def test_the_same_adapter_is_the_same_bytes(base, tmp_path):
    for name in ("one", "two"):
        formats.write(adapter_of(base), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_unknown_format_is_refused(base, tmp_path):
    with pytest.raises(UserError, match="diffusers, kohya"):
        formats.write(adapter_of(base), tmp_path / "x", format="ckpt")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- other people's files


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("unet.{}.lora_A.weight", "unet.{}.lora_B.weight"),
        ("base_model.model.unet.{}.lora_A.weight", "base_model.model.unet.{}.lora_B.weight"),
        ("unet.{}.lora.down.weight", "unet.{}.lora.up.weight"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
         "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight"),
    ],
)  # fmt: skip
def test_names_of_other_days(down, up):
    a, b = pair()
    path = LAYER.removeprefix("unet.")
    read = parse({down.format(path): a, up.format(path): b})
    assert list(read.factors) == [LAYER] and read.alphas == {LAYER: 2.0}  # no alpha is said: the rank


def test_the_text_encoder_with_and_without_its_wrapper():
    a, b = pair()
    path = "encoder.layers.1.self_attn.v_proj"
    for stem in (f"text_encoder.{path}", f"text_encoder.text_model.{path}"):
        assert list(parse(keys(a, b, stem)).factors) == [TEXT + path]
    old = {f"text_encoder.text_model.{path}.lora_linear_layer.{part}.weight": x for part, x in (("down", a), ("up", b))}
    assert list(parse(old).factors) == [TEXT + path]
    older = {f"text_encoder.text_model.encoder.layers.1.self_attn.to_v_lora.{part}.weight": x for part, x in (("down", a), ("up", b))}
    assert list(parse(older).factors) == [TEXT + path]


@pytest.mark.parametrize(
    "path",
    [
        "down_blocks.0.resnets.1.time_emb_proj",
        "up_blocks.3.attentions.2.proj_out",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
        "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.0.resnets.0.conv_shortcut",
        "time_embedding.linear_1",
        "conv_in",
    ],
)
def test_kohya_names_of_every_kind_of_layer(path):
    a, b = pair()
    short = "lora_unet_" + path.replace(".", "_")
    read = parse({f"{short}.lora_down.weight": a, f"{short}.lora_up.weight": b, f"{short}.alpha": torch.tensor(1.0)})
    assert read.alphas == {f"unet.{path}": 1.0} and torch.allclose(read.deltas()[f"unet.{path}"], 0.5 * b @ a)


def test_half_precision_and_convolutions_are_read():
    a, b = torch.randn((2, 3, 3, 3), generator=generator(0)).half(), torch.randn((5, 2, 1, 1), generator=generator(1)).bfloat16()
    read = parse(keys(a, b))
    assert read.deltas()[LAYER].shape == (5, 3, 3, 3) and read.factors[LAYER][1].dtype == torch.float32


def test_keys_that_mean_nothing_are_listed():
    a, b = pair()
    read = parse({**keys(a, b), "emb_params": torch.zeros(3), "lora_te2_text_model_x.alpha": torch.tensor(1.0)})
    assert read.unknown == ("emb_params", "lora_te2_text_model_x.alpha")


# ---------------------------------------------------------------- hostile files


def hostile():
    a, b = pair()
    nan, inf = a.clone(), b.clone()
    nan[0, 0], inf[0, 0] = float("nan"), float("inf")
    short = "lora_unet_conv_in"
    kohya = {f"{short}.lora_down.weight": a, f"{short}.lora_up.weight": b}
    yield "no A", {f"{LAYER}.lora_B.weight": b}, "has no A"
    yield "no B", {f"{LAYER}.lora_A.weight": a}, "has no B"
    yield "alpha alone", {f"{LAYER}.alpha": torch.tensor(1.0)}, "has no A"
    yield "ranks", keys(a, b[:, :1]), "one r"
    yield "vector", keys(a[0], b), "one r"
    yield "cube", keys(a[None], b[None]), "one r"
    yield "no rank", keys(a[:0], b[:, :0]), "one r"
    yield "mixed", keys(a[..., None, None], b), "one r"
    yield "nan", keys(nan, b), "no finite numbers"
    yield "inf", keys(a, inf), "no finite numbers"
    yield "integers", keys(a.int(), b), "torch.int32"
    yield "twice", {**keys(a, b), f"{LAYER}.lora.down.weight": a.clone()}, "twice"
    yield "alpha 0", {**kohya, f"{short}.alpha": torch.tensor(0.0)}, "alpha"
    yield "alpha nan", {**kohya, f"{short}.alpha": torch.tensor(float("nan"))}, "alpha"
    yield "alphas", {**kohya, f"{short}.alpha": torch.ones(3)}, "alpha"
    yield "nothing", {}, "no LoRA weights"
    yield "a ControlNet", {"conv_in.weight": a}, "its first key is 'conv_in.weight'"
    yield "LoHa", {f"{short}.hada_w1_a": a}, "LoHa"
    yield "LoKr", {f"{short}.lokr_w1": a}, "LoKr"
    yield "DoRA", {**kohya, f"{short}.dora_scale": a.clone()}, "DoRA"


@pytest.mark.parametrize(("tensors", "said"), [pytest.param(t, s, id=name) for name, t, s in hostile()])
def test_a_hostile_file_is_named_and_refused(tensors, said):
    with pytest.raises(UserError, match=said) as error:
        parse(tensors)
    assert error.value.got.startswith("x.safetensors: ") and len(str(error.value)) < 500


@pytest.mark.parametrize(
    "notes",
    [
        '{"unet.lora_alpha": 1%s}' % ("0" * 400),
        "{",
        "[1]",
        "[" * 100_000,
        '{"unet.lora_alpha": "16"}',
        '{"unet.lora_alpha": -1}',
        '{"unet.lora_alpha": true}',
    ],
)
def test_hostile_notes(notes):
    with pytest.raises(UserError):
        parse(keys(*pair()), {"lora_adapter_metadata": notes})


def test_bytes_that_are_no_safetensors(tmp_path):
    good = save(keys(*pair()))
    path = tmp_path / "x.safetensors"
    for data in (b"", good[:-3], good[:20], struct.pack("<Q", 2**62) + b"{}", b"\xff" * 100):
        path.write_bytes(data)
        with pytest.raises(UserError, match="not a readable safetensors file"):
            formats.read(path)
    archive = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, archive)
    for data, said in ((pickle.dumps({"a": 1}), "a pickle"), (archive.getvalue(), "a zip archive")):
        path.write_bytes(data)
        with pytest.raises(UserError, match=said) as raised:
            formats.read(path)
        assert "it runs code" in str(raised.value)


def test_no_file_a_folder_or_one_too_large(tmp_path, monkeypatch):
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(UserError, match=said):
            formats.read(path)
    monkeypatch.setattr(formats, "FILE_BYTES", 10)
    (tmp_path / "x").write_bytes(save(keys(*pair())))
    with pytest.raises(UserError, match="larger than any adapter"):
        formats.read(tmp_path / "x")
