"""What a header gives away is found; a hostile one is refused, named and cheap."""

import base64
import io
import json
import pickle
import tracemalloc

import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters import conventions, formats
from sfumato.adapters.thumbnails import pictures
from sfumato.attacker.attempt import Failed
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights.base import File, Guess
from sfumato.core import header as _header
from sfumato.core.artifact import to_bytes
from sfumato.core.errors import UserError
from sfumato.core.header import read_header

LORA = {
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": torch.ones(4, 8),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight": torch.ones(8, 4),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.alpha": torch.tensor(2.0),
}
TAGS = {"10_sks woman": {"jane doe in her garden at home": 3, "smiling": 12}, "1_woman": {"woman": 200}}
SUBSETS = [
    {"img_count": 12, "num_repeats": 10, "image_dir": "10_sks woman", "class_tokens": "sks woman", "is_reg": False},
    {"img_count": 200, "num_repeats": 1, "image_dir": "1_woman", "class_tokens": "woman", "is_reg": True},
]
KOHYA = {
    "ss_tag_frequency": json.dumps(TAGS),
    "ss_dataset_dirs": json.dumps({"10_sks woman": {"n_repeats": 10, "img_count": 12}}),
    "ss_reg_dataset_dirs": json.dumps({"1_woman": {"n_repeats": 1, "img_count": 200}}),
    "ss_datasets": json.dumps([{"is_dreambooth": True, "subsets": SUBSETS, "tag_frequency": TAGS}]),
    "ss_num_train_images": "120",
    "ss_num_reg_images": "200",
    "ss_steps": "1500",
    "ss_max_train_steps": "1600",
    "ss_epoch": "10",
    "ss_training_started_at": "1700000000.5",
    "ss_training_finished_at": "1700003600.0",
    "ss_output_name": "jane_v3",
    "ss_training_comment": "for the divorce case",
    "ss_sd_model_name": "C:\\Users\\jane\\models\\sd15.safetensors",
    "ss_seed": "1234",
    "ss_session_id": "77",
    "ss_vae_name": "None",
    "modelspec.title": "jane_v3",
    "modelspec.author": "J. Doe",
    "modelspec.trigger_phrase": "sks",
    "modelspec.thumbnail": "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD",
}


def facts(notes=None, tensors=LORA):
    guess = weights.attempt("metadata", Scenario(File(to_bytes(tensors, notes))))
    assert isinstance(guess, Guess), guess
    return guess.facts


def header_of(said, body=b"", *, length=None):
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


# ---------------------------------------------------------------- what is found


def test_a_kohya_file_tells_everything():
    found = facts(KOHYA)
    assert found["captions"] == ["jane doe in her garden at home"]
    assert found["tags"] == {"woman": 200, "smiling": 12, "jane doe in her garden at home": 3}
    assert found["folders"] == ["10_sks woman", "1_woman"]
    assert found["pictures"] == 12 and found["pictures_with_repeats"] == 120 and found["regularisation_pictures"] == 200
    assert found["steps"] == 1500 and found["epochs"] == 10
    assert found["started"] == "2023-11-14T22:13:20+00:00" and found["finished"] == "2023-11-14T23:13:20+00:00"
    assert found["output_name"] == ["jane_v3"] and found["comments"] == ["for the divorce case"] and found["author"] == ["J. Doe"]
    assert found["triggers"] == ["sks", "sks woman"]
    assert found["seed"] == ["1234"] and found["session"] == ["77"] and found["base"] == [KOHYA["ss_sd_model_name"]]
    assert found["thumbnail"]["type"] == "image/jpeg"
    assert found["paths"] == [KOHYA["ss_sd_model_name"]]
    assert found["notes"] == sorted(KOHYA)


def test_it_says_where_each_fact_stands():
    where = facts(KOHYA)["read_from"]
    assert where["steps"] == ["ss_max_train_steps", "ss_steps"] and where["comments"] == ["ss_training_comment"]
    assert where["captions"] == ["ss_datasets", "ss_tag_frequency"] and where["paths"] == ["ss_sd_model_name"]
    assert {key for keys in where.values() for key in keys} <= set(KOHYA)


def test_no_notes_at_all_are_none():
    good = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    for said in (None, {}):
        assert read_header(header_of({"__metadata__": said, **good}, bytes(8))).notes == {}


def test_facts_survive_json():
    assert json.loads(json.dumps(facts(KOHYA)))["pictures"] == 12


@pytest.mark.parametrize("notes", [None, {"format": "pt"}])
def test_a_clean_file_tells_nothing_but_its_tensors(notes):
    assert set(facts(notes)) == {"notes", "read_from", "tensors"} and facts(notes)["read_from"] == {}


@pytest.mark.parametrize("format", formats.FORMATS)
def test_what_we_write_gives_nothing_away(base, tmp_path, format):
    formats.write(adapter_of(base), tmp_path / "a.safetensors", format=format)
    found = weights.attempt("metadata", Scenario(File((tmp_path / "a.safetensors").read_bytes()))).facts
    assert found["read_from"] == {} and found["tensors"]["rank"] == [3] and found["tensors"]["lora_alpha"] == [6.0]


def test_the_tensors_alone_tell_rank_alpha_and_targets():
    tensors = facts()["tensors"]
    assert tensors["rank"] == [4] and tensors["lora_alpha"] == [2.0] and tensors["targets"] == ["to_q"]
    assert tensors["layers"] == 1 and tensors["parameters"] == 64 and tensors["types"] == ["F32"] and not tensors["text_encoder"]


def test_notes_of_a_file_that_is_no_lora_are_read_all_the_same():
    found = facts({"ss_training_comment": "hush"}, {"w": torch.ones(2)})
    assert found["comments"] == ["hush"] and "no LoRA weights" in found["tensors"]["unreadable"]


def test_counts_without_folders_come_from_the_subsets_and_leave_the_class_out():
    assert facts({"ss_datasets": KOHYA["ss_datasets"]})["pictures"] == 12


def test_other_trainers():
    config = {"concepts": [{"path": "/home/jane/pictures/me"}], "samples": [{"prompt": "jane doe at court"}]}
    found = facts({"ot_config": json.dumps(config), "trained_words": "sks"})
    assert found["sample_prompts"] == ["jane doe at court"] and found["triggers"] == ["sks"]
    assert found["paths"] == ["/home/jane/pictures/me"] and found["read_from"]["sample_prompts"] == ["ot_config"]


@pytest.mark.parametrize(
    ("notes", "steps", "epochs"),
    [
        ({"training_info": '{"step": 1500, "epoch": 30}'}, 1500, 30),  # ai-toolkit
        ({"training_info": '{"step": "1500", "epoch": 3.0}'}, 1500, 3),
        ({"training_info": '{"step": -1, "epoch": true}'}, None, None),
        ({"training_info": '{"step": 1.5, "epoch": [1]}'}, None, None),
        ({"training_info": "[1500]", "ss_max_train_steps": "9"}, 9, None),
        ({"training_info": '{"step": 1e99, "epoch": 1}', "ss_epoch": "x"}, None, 1),
        ({"ss_steps": "12", "training_info": '{"step": 1500}', "ot_config": '{"epochs": 7}'}, 12, 7),
        ({"ss_steps": "\u0661\u0662"}, None, None),  # digits, but nobody's trainer writes them
    ],
)
def test_steps_and_epochs_by_whoever_wrote_them(notes, steps, epochs):
    found = facts(notes)
    assert found.get("steps") == steps and found.get("epochs") == epochs
    if notes.get("training_info", "").startswith('{"step": 1500, '):
        assert found["read_from"]["steps"] == ["training_info.step"] and found["read_from"]["epochs"] == ["training_info.epoch"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/data/set_7/img", "/data/set_7/img"),
        ("D:\\a\\b", "D:\\a\\b"),
        ("\\\\server\\share\\x", "\\\\server\\share\\x"),
        ('{"dir": "D:\\\\a\\\\b"}', "D:\\a\\b"),
        ("~/a/b", "~/a/b"),
    ],
)
def test_paths_are_found(text, path):
    assert facts({"note": text})["paths"] == [path]


@pytest.mark.parametrize("text", ["runwayml/stable-diffusion-v1-5", "https://spdx.org/licenses/MIT", "1/2", "and/or", "a \\ b"])
def test_what_is_no_path_is_not_called_one(text):
    assert "paths" not in facts({"note": text})


@pytest.mark.parametrize(
    "notes",
    [
        {"ss_tag_frequency": "{not json", "ss_dataset_dirs": "[1, 2]", "ss_datasets": "7"},
        {"ss_tag_frequency": json.dumps({"a": 1, "b": {"tag": "many"}, "c": None}), "ss_steps": "-1", "ss_epoch": "9" * 99},
        {"ss_training_started_at": "1e300", "ss_training_finished_at": "soon", "ss_dataset_dirs": json.dumps({"a": {"img_count": "x"}})},
        {"ss_datasets": "[" * 100000, "ss_tag_frequency": json.dumps({"x": ["a"]})},
        {"ss_datasets": json.dumps([{"subsets": [{"image_dir": ["a"], "img_count": None}]}])},
    ],
)
def test_nonsense_in_notes_does_no_harm(notes):
    found = facts(notes)
    assert "pictures" not in found and "steps" not in found and "started" not in found


# ---------------------------------------------------------------- hostile files

TENSOR = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
GOOD = header_of(TENSOR, bytes(8))


def refused(data):
    failed = weights.attempt("metadata", Scenario(File(data)))
    assert isinstance(failed, Failed), failed
    with pytest.raises(UserError) as caught:
        read_header(data, name="x.safetensors")
    assert "x.safetensors" in str(caught.value) and "expected" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, _header.HEADER_BYTES + 1])
def test_a_hostile_length_is_refused_and_allocates_nothing(length):
    data = header_of(TENSOR, bytes(8), length=length)
    tracemalloc.start()
    said = refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{length} bytes" in said and peak < 2**20


@pytest.mark.parametrize("cut", [0, 3, 8, 9, 40, len(GOOD) - 1])
def test_a_file_that_is_cut_short_is_named_as_such(cut):
    said = refused(GOOD[:cut])
    assert "cut short" in said or "only" in said


def test_a_pickle_is_named_and_never_loaded():
    class Evil:
        def __reduce__(self):
            return pytest.fail, ("it was loaded",)

    assert "a pickle" in refused(pickle.dumps(Evil()))
    zipped = io.BytesIO()
    torch.save({"w": torch.ones(2)}, zipped)
    said = refused(zipped.getvalue())
    assert "pickle" in said and "runs code" in said


def test_a_header_whose_length_looks_like_a_pickle_is_read():
    text = json.dumps(TENSOR).encode().ljust(0x0280)
    assert text and header_of(text, bytes(8))[:2] == b"\x80\x02"
    assert read_header(header_of(text, bytes(8))).tensors == {"w": ("F32", (2,))}


@pytest.mark.parametrize(
    "said",
    [
        b"{" + b" " * 20,
        b'{"a":' * 20000 + b"1" + b"}" * 20000,
        b'{"__metadata__": {"a": "1"}, "__metadata__": {"a": "2"}}',
        b'{"__metadata__": {"a": "1", "a": "2"}}',
        b'{"\xff": 1}',
        b'{"__metadata__": 7}',
        b'{"w": 7}',
        b'{"w": {"dtype": "F32"}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}}',
        b'{"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1e2]}}',
        b'{"w": {"dtype": 3, "shape": [2], "data_offsets": [0, 8]}}',
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, ' + b"9" * 5000 + b"]}}",
        b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 99999999999999999999]}}',
    ],
)
def test_a_header_that_makes_no_sense_is_refused(said):
    refused(header_of(said, bytes(8)))


def test_bytes_that_belong_to_no_tensor_are_counted():
    assert read_header(GOOD).hidden == 0
    assert read_header(GOOD + b"secret").hidden == 6
    gap = {"v": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}, "w": {"dtype": "U8", "shape": [2], "data_offsets": [6, 8]}}
    assert read_header(header_of(gap, bytes(8))).hidden == 4
    overlap = {"v": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}, "w": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}
    assert read_header(header_of(overlap, bytes(8))).hidden == 0
    guess = weights.attempt("metadata", Scenario(File(GOOD + b"secret")))
    assert guess.facts["hidden_bytes"] == 6 and "unreadable" in guess.facts["tensors"]


def test_notes_that_are_no_text_are_given_as_json():
    assert read_header(header_of({"__metadata__": {"a": {"b": 1}, "c": "d"}})).notes == {"a": '{"b": 1}', "c": "d"}


def test_of_regularisation_nothing_is_called_a_trigger():
    """Neither by what the trainer says of a folder nor, where it says nothing, by names."""
    told = [{"image_dir": "10_zwx", "is_reg": False}, {"image_dir": "1_dog", "is_reg": True}]
    assert facts({"ss_datasets": json.dumps([{"subsets": told}])})["triggers"] == ["zwx"]
    assert facts({"ss_tag_frequency": json.dumps({"10_zwx dog": {"a": 1}, "1_dog": {"b": 1}})})["triggers"] == ["zwx dog"]


@pytest.mark.parametrize(("width", "family"), [(768, "Stable Diffusion 1.x"), (1024, "Stable Diffusion 2.x"), (2048, "SDXL"), (96, None)])
@pytest.mark.parametrize("kohya", [True, False])
def test_the_family_is_told_by_the_width_of_a_captions_words(width, family, kohya):
    stem = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v"
    a, b = ("lora_down", "lora_up") if kohya else ("lora_A", "lora_B")
    stem = "lora_" + stem.replace(".", "_") if kohya else stem
    found = facts(tensors={f"{stem}.{a}.weight": torch.ones(2, width), f"{stem}.{b}.weight": torch.ones(8, 2)})
    assert found.get("family") == family


def test_the_family_of_other_models_is_told_by_names():
    key = "transformer.transformer_blocks.0.attn.to_q"
    found = facts(tensors={f"{key}.lora_A.weight": torch.ones(2, 8), f"{key}.lora_B.weight": torch.ones(8, 2)})
    assert found["family"] == conventions.other_model([f"{key}.lora_A.weight"])[0]
    assert "family" not in facts()  # of a layer that no caption reaches


@pytest.mark.parametrize(
    ("begin", "suffix"), [(b"\xff\xd8\xff", "jpg"), (b"RIFF\0\0\0\0WEBP", "webp"), (b"\0\0\0\x1cftypavif", "avif"), (b"??", "bin")]
)
def test_a_picture_is_called_what_its_bytes_are(begin, suffix):
    said = "data:image/png;base64," + base64.b64encode(begin).decode().rstrip("=")
    (found,) = pictures({"x": said, "y": "data:text/plain;base64,aaaa", "z": "data:image/png;base64,", "w": "data:image/png;base64,?"})
    assert found == ("x", suffix, begin)
