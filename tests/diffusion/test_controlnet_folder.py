"""Folders of a trained ControlNet from anybody: read as they were written, or named for what is wrong with them."""

import json
import os
import resource
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from sfumato.core.errors import UserError
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.controlnet_folder import CONFIG, SETTINGS, WEIGHTS, check_fits
from tests_support import acting_controlnet


@pytest.fixture(scope="module")
def made(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "net"
    settings = nets.describe(base, condition="canny", captioned=False)
    mask = os.umask(0o022)
    try:
        nets.save_controlnet(acting_controlnet(base), folder, settings)
    finally:
        os.umask(mask)
    return folder


@pytest.fixture
def net(made, tmp_path):
    return shutil.copytree(made, tmp_path / "net")


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def refused(folder, *, file):
    with pytest.raises(UserError) as raised:
        nets.load_latent_controlnet(folder)
    assert "not a ControlNet" in raised.value.got and file in raised.value.got and raised.value.expected and raised.value.fix
    return str(raised.value)


def test_files_are_alike_and_as_the_umask_says(made):
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o644}


def test_every_model_that_we_write_is_read(base, net):
    model, settings = nets.load_latent_controlnet(net)
    check_fits(model, base)
    assert settings["condition"] == "canny" and model.config.conditioning_channels == 4
    stock = load_file(net / WEIGHTS)
    assert all(torch.equal(value, stock[name]) for name, value in model.state_dict().items())
    assert not any(parameter.is_meta or parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "entries",
    [
        {"norm_num_groups": "[]", "norm_eps": "\uff10\uff11"},
        {"down_block_types": ["DownBlock2D", 8]},
        {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"]},
        {"down_block_types": "DownBlock2D"},
        {"down_block_types": []},
        {"block_out_channels": [8, -8]},
        {"block_out_channels": [8, 8, 8, 8]},
        {"block_out_channels": [8, 2**40]},
        {"block_out_channels": [8] * 1000, "down_block_types": ["DownBlock2D"] * 1000},
        {"block_out_channels": {"0": 8}},
        {"block_out_channels": [True, True]},
        {"layers_per_block": 10**6},
        {"transformer_layers_per_block": 10**6},
        {"cross_attention_dim": 10**12},
        {"cross_attention_dim": None},
        {"attention_head_dim": 0},
        {"attention_head_dim": [1, 2, 3, 4, 5]},
        {"num_attention_heads": 0},
        {"norm_num_groups": 7},
        {"norm_eps": -1},
        {"act_fn": "os.system"},
        {"mid_block_type": None},
        {"conditioning_embedding_out_channels": [10**9]},
        {"conditioning_embedding_out_channels": None},
        {"class_embed_type": "timestep"},
        {"addition_embed_type": "text"},
        {"encoder_hid_dim_type": "text_proj"},
        {"only_cross_attention": [True, "x"]},
        {"only_cross_attention": [True]},
        {"upcast_attention": -0.0},
        {"_class_name": "UNet2DConditionModel"},
        {"_class_name": None},
    ],
)
def test_an_odd_configuration_takes_nothing_and_is_named(net, entries):
    change(net / CONFIG, **entries)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    said = refused(net, file=CONFIG)
    assert len(said) < 600 and time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "[]", "null", "{", '{"a": 1, "a": 2}', '{"norm_eps": NaN}', ""])
@pytest.mark.parametrize("file", [CONFIG, SETTINGS])
def test_damaged_json(net, text, file):
    (net / file).write_text(text)
    refused(net, file=file)


@pytest.mark.parametrize(
    "entries",
    [
        {"condition_scale": 1e300},
        {"condition_scale": True},
        {"condition_scale": [1]},
        {"control_guidance_end": -1},
        {"context": ["zeros"]},
        {"activation": ["identity"]},
        {"activation": "relu"},
        {"base": {"name": 1, "fingerprint": "", "unet": ""}},
        {"base": {"name": "n" * 2000, "fingerprint": "", "unet": ""}},
        {"base": {"name": "n", "fingerprint": "", "unet": "", "local": "no"}},
        {"base": []},
        {"kind": None},
    ],
)
def test_odd_settings(net, entries):
    change(net / SETTINGS, **entries)
    assert "not the settings" in refused(net, file=SETTINGS)


def tensors(net, edit):
    found = load_file(net / WEIGHTS)
    edit(found, sorted(found))
    save_file(found, net / WEIGHTS)


def test_a_tensor_that_is_missing_is_named(net):
    gone = []
    tensors(net, lambda found, names: (gone.append(names[5]), found.pop(names[5])))
    assert f"lack {gone[0]}" in refused(net, file=WEIGHTS)


def test_tensors_in_excess_of_other_shapes_kinds_or_values(net, made):
    first = sorted(load_file(made / WEIGHTS))[0]
    value = load_file(made / WEIGHTS)[first]
    nan = value.clone()
    nan.view(-1)[0] = float("nan")
    for edit, said in (
        (lambda found, names: found.update(stray=value), "excess stray"),
        (lambda found, names: found.update({first: value[:1]}), f"{first} is"),
        (lambda found, names: found.update({first: value.to(torch.int32)}), "torch.int32"),
        (lambda found, names: found.update({first: nan}), "finite"),
        (lambda found, names: found.clear(), "lack"),
    ):
        shutil.copy(made / WEIGHTS, net / WEIGHTS)
        tensors(net, edit)
        assert said in refused(net, file=WEIGHTS)


def test_weights_in_half_precision_are_read_in_full(net):
    tensors(net, lambda found, names: found.update({name: value.half() for name, value in found.items()}))
    model, _ = nets.load_latent_controlnet(net)
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())


def test_files_that_are_none(net):
    (net / WEIGHTS).write_bytes((net / WEIGHTS).read_bytes()[:-7])
    assert "cut short" in refused(net, file=WEIGHTS)
    (net / WEIGHTS).unlink()
    refused(net, file=WEIGHTS)
    torch.save({}, net / "diffusion_pytorch_model.bin")
    assert "runs code" in refused(net, file=WEIGHTS)
    os.mkfifo(net / WEIGHTS)
    refused(net, file=WEIGHTS)
    (net / WEIGHTS).unlink()
    (net / WEIGHTS).symlink_to("/dev/zero")
    refused(net, file=WEIGHTS)
    for file in (CONFIG, SETTINGS):
        (net / file).unlink()
        with pytest.raises(UserError, match=file):
            nets.load_latent_controlnet(net)


def test_a_controlnet_of_another_base_is_told(base, net):
    model, _ = nets.load_latent_controlnet(net)
    model.register_to_config(cross_attention_dim=77)
    with pytest.raises(UserError, match="cross_attention_dim"):
        check_fits(model, base)
