"""Files as authors and enemies write them: nothing is dropped, nothing is taken for clean, nothing takes long."""

import json
import os
import time

import pytest
from PIL import Image

from sfumato.adapters.scrub import USUAL, cleaned, scrub
from sfumato.core.errors import UserError
from sfumato.sharing import audit as sharing
from sfumato.sharing import clean, formats
from sfumato.sharing.file import NOTE, of_file
from sfumato.sharing.folder import of_folder
from sharing_support import DIALECTS, USEFUL, raw, write

SHAPES = DIALECTS["kohya sd1"][0]
ONE = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}


def found(tmp_path, notes, shapes=SHAPES):
    return of_file(write(tmp_path / "a.safetensors", shapes, notes))[1]


@pytest.mark.parametrize(
    ("note", "said", "rule", "text"),
    [
        ("ss_tag_frequency", {"d": ["a cat on our red sofa"]}, "caption", "red sofa"),
        ("ss_tag_frequency", {"d": {"cat": 1}, "e": "petra novak at home"}, "person", "petra"),
        ("ss_datasets", [{"img_count": 2, "image_dir": "x", "caption_prefix": "photo of my wife"}], "caption", "my wife"),
        ("ot_config", {"concepts": [{"name": "anna", "path": "//nas/photos/set/x"}]}, "person", "anna"),
        ("ot_config", {"concepts": [{"name": "x", "path": "//nas/photos/set/x"}]}, "path", "//nas/photos/set/x"),
        ("ot_config", {"samples": [{"prompt": "a", "negative_prompt": "an ugly red sofa"}]}, "free-text", "ugly red sofa"),
        ("ss_network_args", {"save_to": "s3://petra-novak/set/x"}, "path", "s3://petra-novak"),
        ("petra novak at home", "1", "person", "petra novak"),
        ("cover", "iVBORw0KGgoAAAANSUhEUgAA", "header-picture", "png"),
        ("modelspec.thumbnail", "data:image/png;base64,!!!", "header-picture", "characters"),
    ],
)  # fmt: skip
def test_whatever_a_note_holds_is_found_in_any_of_its_entries(tmp_path, note, said, rule, text):
    findings = found(tmp_path, {note: said if isinstance(said, str) else json.dumps(said)})
    assert any(one.rule == rule and text in " ".join(one.examples) for one in findings), findings


@pytest.mark.parametrize(
    ("note", "value"),
    [
        ("ss_network_dim", "petra novak"), ("ss_network_alpha", "x" * 400), ("ss_network_module", "petra.networks"), ("format", "petra"),
        ("modelspec.resolution", "by petra"), ("modelspec.license", "a\nb"), ("ss_base_model_version", "petra's own base"),
        ("modelspec.license", "data:text/html;base64,<b>"),
    ],
)  # fmt: skip
def test_a_note_that_may_stay_goes_where_it_is_not_of_its_kind(tmp_path, note, value):
    assert cleaned({note: value}) == {} and cleaned(USEFUL) == USEFUL
    assert any(one.level != "note" and note in one.place for one in found(tmp_path, {note: value}))


def test_settings_that_hold_sentences_go_and_unreadable_ones_are_found_and_go(tmp_path):
    said = {"r": "petra novak", "modules_to_save": ["my friend in berlin"], "target_modules": ["to_k"], "lora_alpha": 8, "bias": {"a": {}}}
    left = json.loads(cleaned({"lora_adapter_metadata": json.dumps(said)})["lora_adapter_metadata"])
    assert left == {"target_modules": ["to_k"], "lora_alpha": 8}
    findings = found(tmp_path, {"lora_adapter_metadata": json.dumps(said)})
    assert any("petra novak" in one.examples[0] for one in findings if one.rule == "adapter-settings")
    for bad in ("{bad", "3", "[" * 2000, '{"r": NaN}'):
        findings = found(tmp_path, {"lora_adapter_metadata": bad})
        assert findings and all("lora_adapter_metadata" in one.place for one in findings)
        scrub(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
        assert of_file(tmp_path / "b.safetensors")[1] == []


@pytest.mark.parametrize("trigger", ["\x1b[2Jall is well", "zwx \u202eeno", "zwx " * 200])
def test_a_trigger_that_is_none_is_a_finding_and_goes(tmp_path, trigger):
    assert "free-text" in {one.rule for one in found(tmp_path, {"modelspec.trigger_phrase": trigger})}
    assert cleaned({"modelspec.trigger_phrase": trigger}) == {}


def test_what_a_key_hides_by_being_there_twice_is_found_and_goes(tmp_path):
    findings = found(tmp_path, {"lora_adapter_metadata": '{"r": "petra novak", "r": 4}'})
    assert {one.rule for one in findings} >= {"adapter-settings"} and "petra novak" in str(findings)
    assert cleaned({"lora_adapter_metadata": '{"r": "petra novak", "r": 4}'}) == {"lora_adapter_metadata": '{"r": 4}'}


def test_one_command_mends_a_folder(tmp_path):
    folder = tmp_path / "an output"
    write(folder / "a.safetensors", SHAPES, {"ss_seed": "1", "modelspec.trigger_phrase": "zwx"})
    write(folder / "cache" / "b.safetensors", {"latents_8x8": (4, 8, 8)}, {})
    (command,) = {one.fix for one in sharing.audit([folder]).findings if one.fix}
    clean.folder(folder, tmp_path / "CLEAN", keep=USUAL)
    assert command == f"sfumato scrub '{folder}' -o CLEAN" and sharing.audit([tmp_path / "CLEAN"]).exit_code == 0


def test_a_fix_takes_away_what_it_is_named_for(tmp_path):
    (person, note) = found(tmp_path, {"modelspec.trigger_phrase": "petra novak"})
    assert (person.rule, note.rule) == ("trigger", "person") or (person.rule, note.rule) == ("person", "trigger")
    fix = next(one.fix for one in (person, note) if one.rule == "person")
    keep = fix.partition("--keep ")[2].split(",")
    scrub(tmp_path / "a.safetensors", tmp_path / "b.safetensors", keep=keep)
    assert "trigger" not in keep and of_file(tmp_path / "b.safetensors")[1] == []


def test_names_of_tensors_are_looked_at_and_unknown_ones_are_counted(tmp_path):
    stem = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    shapes = {f"{stem}.lora_A.petra_novak.weight": (4, 768), f"{stem}.lora_B.petra_novak.weight": (320, 4), "anna.extra": (1,)}
    said, findings, _ = of_file(write(tmp_path / "a.safetensors", shapes, {}))
    assert "1 of no layer that is known: anna.extra" in said
    assert {one.rule for one in findings} == {"tensor-name", "person"} and not any(one.fix for one in findings)


def test_what_an_entry_holds_beyond_its_tensor_is_found_and_goes(tmp_path):
    file = raw(tmp_path / "a.safetensors", {"a": ONE | {"comment": "petra novak was here"}}, b"abcd")
    (one,) = of_file(file)[1]
    assert one.rule == "hidden-bytes" and "petra novak" in one.examples[0]
    named = raw(tmp_path / "c.safetensors", {"petra novak.x": ONE}, b"abcd")
    assert [one.rule for one in of_file(named)[1]] == ["person"]
    scrub(file, tmp_path / "b.safetensors")
    assert b"petra" not in (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    "entry", [ONE | {"data_offsets": [0, 6]}, ONE | {"dtype": "\x1b[2J"}, ONE | {"shape": [2**40]}, ONE | {"shape": [1e3]}, 3, None]
)
def test_a_tensor_that_is_not_as_long_as_it_says_is_never_clean(tmp_path, entry):
    file = raw(tmp_path / "a.safetensors", {"a": entry}, b"abcdef")
    report = sharing.audit([file])
    assert report.exit_code == 2 and "\x1b" not in str(report)
    with pytest.raises(UserError):
        scrub(file, None)


@pytest.mark.parametrize(
    "note", ["[" * 2**21, json.dumps([{"prompt": "a"}] * 2**17), json.dumps({"d": {f"a person {i} in a room": 1 for i in range(2**16)}}),
             "Aa " * 2**20, "a@b." * 2**20, "/home/" * 2**19, "+1 1 -" * 2**19],
)  # fmt: skip
def test_a_long_note_is_named_soon_and_shown_by_its_beginning(tmp_path, note):
    file = write(tmp_path / "a.safetensors", SHAPES, {"ot_config": note})
    started = time.process_time()
    (one,) = of_file(file)[1]
    assert time.process_time() - started < 20 and len(note) > NOTE
    assert one.rule == "long-note" and note[:20] in one.examples[0]


def test_notes_of_up_to_that_length_are_read_soon(tmp_path):
    tags = json.dumps({"d": {f"a cat {i} in a room": 1 for i in range(30_000)}})
    file = write(tmp_path / "a.safetensors", SHAPES, {"ss_tag_frequency": tags, "ss_training_comment": "a.b-" * 100_000})
    started = time.process_time()
    rules = {one.rule for one in of_file(file)[1]}
    assert time.process_time() - started < 20 and {"caption", "free-text"} <= rules


def test_pipes_in_a_folder_are_named_and_not_waited_for(tmp_path):
    for name in ("a.png", "b.safetensors", "c.txt"):
        os.mkfifo(tmp_path / name)
    _, seen = of_folder(tmp_path)
    assert len(seen.untested) == 3 and all(one.asked for one in seen.untested)


def test_a_prompt_in_the_notes_of_a_jpeg_is_found(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "zwx on a sofa".encode("utf-16-be")
    (tmp_path / "samples").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "samples" / "a.jpg", exif=exif)
    one = next(one for one in of_folder(tmp_path)[1].findings if one.rule == "picture-prompt")
    assert one.examples == ("zwx on a sofa",)


def test_many_folders_of_samples_are_a_line_each(tmp_path):
    for number in range(20):
        (tmp_path / "samples").mkdir(exist_ok=True)
        Image.new("L", (1, 1)).save(tmp_path / "samples" / f"{number}.png")
    (one,) = of_folder(tmp_path)[1].findings
    assert one.rule == "training-pictures" and one.count == 20 and len(one.examples) == 3


@pytest.mark.parametrize("form", formats.names())
def test_names_that_are_no_text_and_half_characters_can_be_written_in_every_format(tmp_path, form):
    file = write(tmp_path / os.fsdecode(b"\xff\x1b[2J.safetensors"), SHAPES, {"ot_config": json.dumps([{"prompt": "\ud800 half"}])})
    text = formats.written(sharing.audit([file]), form)
    assert text.encode() and ("half" in text) and "\x1b" not in text


def test_a_file_as_its_program_writes_it_gives_no_false_alarm(tmp_path):
    peft = {"unet.r": 4, "unet.eva_config": None, "unet.megatron_core": "megatron.core", "unet.peft_version": "0.19.1",
            "unet.qalora_group_size": 16, "unet.target_modules": ["to_k"], "unet.auto_mapping": None}  # fmt: skip
    notes = {"format": "pt", "lora_adapter_metadata": json.dumps(peft), "modelspec.license": "Apache-2.0", "ss_v2": "False"}
    assert found(tmp_path, notes) == []
    assert [one.rule for one in found(tmp_path, notes | {"modelspec.trigger_phrase": "zwx person"})] == ["trigger"]
    trained = {"ss_tag_frequency": json.dumps({"set": {"zwx": 30}}), "trained_words": json.dumps(["zwx"])}
    assert "caption-words" not in {one.rule for one in found(tmp_path, trained)}
    assert "caption-words" in {one.rule for one in found(tmp_path, trained | {"trained_words": "[]"})}


def test_very_many_names_are_read_soon(tmp_path):
    entry = {"dtype": "F16", "shape": [0, 1], "data_offsets": [0, 0]}
    stem = "lora_unet_down_blocks_0_attentions_{}_proj_in.lora_down.weight"
    notes = {"__metadata__": {f"k{n}": "v" for n in range(20_000)}}
    file = raw(tmp_path / "a.safetensors", notes | {stem.format(n): entry for n in range(20_000)})
    started = time.process_time()
    said, findings, _ = of_file(file)
    assert time.process_time() - started < 20 and "20000 layers" in said and [one.count for one in findings] == [20_000]
