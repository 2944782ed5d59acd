"""A clean copy: the same tensors by hash, a header of what may stay, nothing hidden, nothing half-written."""

import json
import os

import pytest
import torch

from sfumato.adapters import scrub as scrubbing
from sfumato.adapters.notes import facts_of
from sfumato.adapters.scrub import KEEP, USUAL, cleaned, scrub
from sfumato.core.artifact import from_bytes, metadata_of, to_bytes
from sfumato.core.errors import UserError
from sfumato.core.header import Header, read_header

TELLING = {
    "ss_tag_frequency": json.dumps({"10_anna smith": {"anna smith at home in berlin": 3}}),
    "ss_dataset_dirs": json.dumps({"10_anna smith": {"n_repeats": 10, "img_count": 12}}),
    "ss_training_comment": "for anna", "ss_output_name": "anna_v2", "ss_seed": "42", "ss_session_id": "1", "modelspec.date": "2026-01-01",
    "ss_training_started_at": "1764000000.0", "ss_sd_model_name": "/home/anna/models/x.safetensors", "modelspec.author": "anna",
    "modelspec.thumbnail": "data:image/png;base64,aGVsbG8=", "ot_config": json.dumps({"concept_file_name": "C:\\Users\\anna\\x.json"}),
    "training_info": json.dumps({"step": 1500}), "whatever": "else",
}  # fmt: skip
USEFUL = {
    "ss_base_model_version": "sd_v1",
    "ss_network_dim": "4",
    "ss_network_alpha": "2",
    "modelspec.trigger_phrase": "sks",
    "format": "pt",
}


def tensors():
    draws = torch.Generator().manual_seed(0)
    return {
        "lora_unet_a.lora_down.weight": torch.randn(4, 8, generator=draws).bfloat16(),
        "lora_unet_a.lora_up.weight": torch.randn(8, 4, generator=draws),
        "lora_unet_a.alpha": torch.tensor(2.0), "none": torch.zeros(0, 3), "eight": torch.ones(5).to(torch.float8_e4m3fn),
    }  # fmt: skip


def written(path, notes):
    path.write_bytes(to_bytes(tensors(), notes))
    return path


def test_the_tensors_stay_to_the_bit_and_the_header_says_what_a_user_needs(tmp_path):
    file, out = written(tmp_path / "a.safetensors", TELLING | USEFUL), tmp_path / "clean" / "a.safetensors"
    found = scrub(file, out)
    before, after = (from_bytes(path.read_bytes(), name="x") for path in (file, out))
    assert before.keys() == after.keys()
    assert all(before[k].dtype == after[k].dtype and torch.equal(before[k].view(torch.uint8), after[k].view(torch.uint8))
               for k in before if before[k].ndim)  # fmt: skip
    assert metadata_of(out.read_bytes()) == USEFUL and set(found.dropped) == set(TELLING) and set(found.kept) == set(USEFUL)
    assert found.tensors == 5 and found.hidden == 0
    facts = facts_of(read_header(out.read_bytes()))
    assert set(facts) - {"notes", "read_from"} == {"triggers", "base"}
    assert scrub(file, None) == found and scrub(out, None).sha256 == found.sha256 and scrub(out, None).dropped == ()


def test_the_same_file_gives_the_same_copy_and_may_be_replaced(tmp_path):
    file = written(tmp_path / "a.safetensors", TELLING | USEFUL)
    scrub(file, tmp_path / "b.safetensors")
    scrub(file, file)
    assert file.read_bytes() == (tmp_path / "b.safetensors").read_bytes() and len(list(tmp_path.iterdir())) == 2


def test_hidden_bytes_go(tmp_path):
    file, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    whole = to_bytes(tensors(), USEFUL)
    size = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:size])
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = [at + 16 for at in entry["data_offsets"]]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"anna smith, 1980" + whole[size:])
    found = scrub(file, out)
    assert found.hidden == 16 and read_header(out.read_bytes()).hidden == 0 and b"anna" not in out.read_bytes()
    assert found.sha256 == scrub(written(tmp_path / "c.safetensors", {}), None).sha256


@pytest.mark.parametrize("keep", [(), ("rank",), tuple(KEEP)])
def test_what_stays_is_what_was_named(tmp_path, keep):
    file, out = written(tmp_path / "a.safetensors", TELLING | USEFUL), tmp_path / "b.safetensors"
    scrub(file, out, keep=keep)
    stays = {note for word in keep for note in KEEP[word]} | {"format"}
    assert set(metadata_of(out.read_bytes())) <= stays
    assert ("ss_network_dim" in metadata_of(out.read_bytes())) == ("rank" in keep)
    with pytest.raises(UserError, match="captions"):
        scrub(file, out, keep=("captions",))


def test_what_may_stay_goes_where_it_says_more_than_it_should():
    telling = {
        "ss_base_model_version": "/home/anna/base", "ss_network_module": "C:\\Users\\anna\\net", "modelspec.architecture": "x" * 1000,
        "modelspec.trigger_phrase": "sks",
    }  # fmt: skip
    assert cleaned(telling) == {"modelspec.trigger_phrase": "sks"}
    links = {"modelspec.implementation": "https://example.org/a/b", "modelspec.sai_model_spec": "1.0.0"}
    assert cleaned(links) == links


def test_settings_of_the_adapter_stay_without_names():
    said = {
        "unet.r": 4, "unet.lora_alpha": 2, "unet.target_modules": ["to_q"], "use_rslora": True, "base_model_name_or_path": "/home/anna/x",
        "task_type": "anna", "unet.auto_mapping": {"parent_library": "anna"}, "unet.init_lora_weights": "anna",
    }  # fmt: skip
    left = json.loads(cleaned({"lora_adapter_metadata": json.dumps(said)})["lora_adapter_metadata"])
    assert left == {"unet.r": 4, "unet.lora_alpha": 2, "unet.target_modules": ["to_q"], "use_rslora": True, "unet.init_lora_weights": True}
    assert USUAL and set(USUAL) <= set(KEEP)


def test_what_cannot_be_copied_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    out = tmp_path / "b.safetensors"
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x80\x04pickle, and no tensors")
    fifo = tmp_path / "fifo.safetensors"
    os.mkfifo(fifo)
    header = json.dumps({n: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"}).encode()
    twice = tmp_path / "twice.safetensors"
    twice.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    for path, says in ((bad, "pickle"), (fifo, "not a file"), (twice, "overlaps"), (tmp_path / "none.safetensors", "no tensors")):
        with pytest.raises(UserError, match=says):
            scrub(path, out)
    file = written(tmp_path / "a.safetensors", TELLING)
    monkeypatch.setattr(scrubbing, "_read_again", lambda copy, name: (Header(notes={}, tensors={}, hidden=0), {}, 0))
    with pytest.raises(UserError, match="not the file's"):
        scrub(file, out)
    assert not out.exists() and not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_a_private_files_copy_is_private(tmp_path):
    file = written(tmp_path / "a.safetensors", TELLING)
    file.chmod(0o600)
    scrub(file, tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").stat().st_mode & 0o077 == 0


def test_a_trigger_in_a_folders_name_alone_is_said_to_be_lost_and_can_be_kept(tmp_path):
    kohya = {"ss_dataset_dirs": json.dumps({"5_sks person": {"n_repeats": 5, "img_count": 9}}), "ss_network_dim": "4"}
    file, out = written(tmp_path / "a.safetensors", kohya), tmp_path / "b.safetensors"
    assert scrub(file, None).lost == ("sks person",)
    assert scrub(file, None, keep=("rank",)).lost == ()  # whoever leaves triggers out wants none
    kept = scrub(file, out, trigger="sks person")
    assert kept.lost == () and metadata_of(out.read_bytes()) == {"modelspec.trigger_phrase": "sks person", "ss_network_dim": "4"}
    assert scrub(written(tmp_path / "c.safetensors", kohya | {"trained_words": "sks person, sks"}), None).lost == ()
    renamed = tmp_path / "d.safetensors"
    scrub(written(tmp_path / "c.safetensors", kohya | {"trained_words": "anna"}), renamed, trigger="zwx")
    assert metadata_of(renamed.read_bytes()) == {"modelspec.trigger_phrase": "zwx", "ss_network_dim": "4"}


@pytest.mark.parametrize("trigger", ["", "  ", "/home/anna/x", "x" * 600, "a\x1b[2J"])
def test_a_trigger_that_no_header_should_hold_is_refused(tmp_path, trigger):
    with pytest.raises(UserError, match="--trigger"):
        scrub(written(tmp_path / "a.safetensors", {}), tmp_path / "b.safetensors", trigger=trigger)
    assert not (tmp_path / "b.safetensors").exists()
