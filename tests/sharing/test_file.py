"""Every planted leak is found in every dialect, and none is left after a scrub."""

import json
import os
import time

import pytest
import torch

from sfumato.adapters.scrub import scrub
from sfumato.core.artifact import from_bytes
from sfumato.sharing.file import of_file
from sharing_support import DIALECTS, LEAKS, TYPES, USEFUL, notes_of, write


def rules(findings):
    return {one.rule for one in findings if one.level != "note"}


@pytest.mark.parametrize("rule", LEAKS)
def test_a_planted_leak_is_found_with_where_it_stands(tmp_path, rule):
    file = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], notes_of(rule))
    _, findings, _ = of_file(file)
    one = next(one for one in findings if one.rule == rule)
    assert any(LEAKS[rule][1] in text for text in one.examples) and one.fix.startswith("sfumato scrub ")
    assert rule == "person" or set(one.place.split(", ")) <= set(LEAKS[rule][0])
    assert one.certain == (rule != "person")


@pytest.mark.parametrize(("number", "dialect"), list(enumerate(DIALECTS)), ids=list(DIALECTS))
def test_every_dialect_is_named_and_clean_after_a_scrub(tmp_path, number, dialect):
    shapes, words = DIALECTS[dialect]
    kind = TYPES[number % len(TYPES)]
    file, out = write(tmp_path / "a.safetensors", shapes, notes_of(*LEAKS), kind), tmp_path / "b.safetensors"
    said, findings, open_ = of_file(file)
    assert all(word in said for word in words), said
    missing = set(LEAKS) - rules(findings) - {"path"}  # in one note with prompts, of which the last planted is left
    assert not missing
    scrub(file, out)
    said_after, after, open_after = of_file(out)
    chosen = {"tensor-name"} if "bundle_emb.somebody.clip_l" in shapes else set()
    assert rules(after) == chosen and said_after == said and open_after == open_
    before, copy = (from_bytes(path.read_bytes(), name="x") for path in (file, out))
    assert before.keys() == copy.keys()
    assert all(torch.equal(before[k].reshape(-1).view(torch.uint8), copy[k].reshape(-1).view(torch.uint8)) for k in before)


def test_what_users_need_is_no_finding_but_is_said(tmp_path):
    _, findings, _ = of_file(write(tmp_path / "a.safetensors", DIALECTS["diffusers"][0], USEFUL))
    assert not rules(findings) and [one.rule for one in findings] == ["trigger"] and findings[0].examples == ("zwx",)
    _, findings, _ = of_file(write(tmp_path / "b.safetensors", DIALECTS["diffusers"][0], {"format": "pt"}))
    assert findings == []


def test_bytes_that_belong_to_nothing_and_names_in_tensors(tmp_path):
    file = write(tmp_path / "a.safetensors", DIALECTS["onetrainer"][0], {})
    file.write_bytes(file.read_bytes() + b"Petra Novak")
    _, findings, _ = of_file(file)
    assert {one.rule: one.examples for one in findings} == {"hidden-bytes": ("11 bytes",), "tensor-name": ("somebody",)}


@pytest.mark.parametrize(("names", "rule"), [(("latents_64x64",), "cached-latents"), (("state.exp_avg", "step"), "optimizer")])
def test_tensors_that_are_no_model_are_named(tmp_path, names, rule):
    _, findings, _ = of_file(write(tmp_path / "a.safetensors", {name: (2, 2) for name in names}, {}))
    assert rule in rules(findings)


def test_an_adapter_leaves_open_what_its_weights_know(tmp_path):
    _, _, open_ = of_file(write(tmp_path / "a.safetensors", DIALECTS["oft"][0], {}))
    assert len(open_) == 2 and not any(one.asked for one in open_)


def test_what_cannot_be_read_is_open_and_never_clean(tmp_path):
    pickle, short, pipe = (tmp_path / name for name in ("a.ckpt", "b.safetensors", "c.safetensors"))
    pickle.write_bytes(b"\x80\x04K\x01.pickle")
    short.write_bytes(b"\x00")
    os.mkfifo(pipe)
    for path, found in ((pickle, {"pickle"}), (short, set()), (pipe, set())):
        said, findings, open_ = of_file(path)
        assert rules(findings) == found and open_[0].asked and said in ("a pickle", "not read")


def test_a_large_file_is_read_by_its_header_alone(tmp_path):
    path = tmp_path / "large.safetensors"
    header = json.dumps({"__metadata__": {"ss_seed": "1"}, "x.lora_A.weight": {"dtype": "U8", "shape": [4, 2**30],
                         "data_offsets": [0, 2**32]}}).encode()  # fmt: skip
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**32)  # four gigabytes that take no place
    started = time.process_time()
    _, findings, _ = of_file(path)
    assert rules(findings) == {"seed"} and time.process_time() - started < 1


@pytest.mark.parametrize(("tags", "more", "found"), [
    ({"1_sks": {"sks": 1}}, {}, set()), ({"sks": {"sks": 1}}, {}, set()),
    ({"trigger": {"sks": 1}}, {"modelspec.trigger_phrase": "sks"}, set()),
    ({"trigger": {"sks": 1}}, {}, {"folder-name", "caption-words"}),  # nothing says that this is the trigger
    ({"1_our kitchen": {"sks": 1}}, {"modelspec.trigger_phrase": "sks"}, {"folder-name"}),
    ({"1_sks": {"sks": 1, "kitchen": 1}}, {}, {"folder-name", "caption-words"}),
    ({"5_sks": {"sks": 20}}, {}, {"folder-name", "caption-words"}),
    ({"1_sks": {"sks": 1}}, {"ss_dataset_dirs": '{"1_sks": {"img_count": 1}}'}, {"folder-name", "caption-words", "set-size"}),
])  # fmt: skip
def test_a_trigger_where_others_look_for_it_is_no_folder(tmp_path, tags, more, found):
    file = write(tmp_path / "a.safetensors", DIALECTS["simpletuner"][0], {"ss_tag_frequency": json.dumps(tags)} | more)
    _, findings, _ = of_file(file)
    assert rules(findings) == found
    assert found or [one.examples for one in findings if one.rule == "trigger"] == [("sks",)]
