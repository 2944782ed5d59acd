"""An output folder: what should not be in it is found by name, what may be in it by what it says; links are not followed."""

import errno
import os
import time

import pytest
from PIL import Image, PngImagePlugin

from sfumato.adapters import scrub
from sfumato.core.errors import UserError
from sfumato.sharing import folder as folders
from sfumato.sharing import secrets
from sfumato.sharing.clean import folder as clean
from sfumato.sharing.file import header_of
from sfumato.sharing.folder import kind_of, of_folder
from sharing_support import DIALECTS, notes_of, write

TOKEN = "hf_" + "abcdEFGH" * 5


def picture(path, **notes):
    info = PngImagePlugin.PngInfo()
    for key, value in notes.items():
        info.add_text(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)


@pytest.fixture
def output(tmp_path):
    """What a trainer left."""
    root = tmp_path / "output"
    write(root / "adapter.safetensors", DIALECTS["kohya sd1"][0], notes_of("caption"))
    write(root / "plain.safetensors", DIALECTS["diffusers"][0], {"format": "pt"})
    write(root / "cache" / "one.safetensors", {"latents_8x8": (4, 8, 8)}, {})
    picture(root / "samples" / "0.png", parameters="zwx on a sofa\nSteps: 20")
    picture(root / "img" / "1.png")
    texts = {
        "README.md": f"trained by me\nhub_token: {TOKEN}\n", "img/1.txt": "zwx in our kitchen", "logs/run/hparams.yml": "data: /data",
        "checkpoint-500/optimizer.bin": "x", "metadata.jsonl": '{"file_name": "1.png"}', "set_sd.npz": "x", ".git/config": "x",
        ".env": "A=1", "config.json": '{"_name_or_path": "/home/pnovak/base", "block": 1}', "tokenizer/vocab.json": "{}",
        "adapter_config.json": '{"r": 4, "base_model_name_or_path": "/home/pnovak/base"}', "old.ckpt": "x", "train.sh": "cd /home/pnovak/x",
    }  # fmt: skip
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "link").symlink_to(tmp_path)
    return root


def test_what_should_not_leave_is_found(output):
    said, seen = of_folder(output)
    found = {(one.rule, one.path) for one in seen.findings}
    assert found >= {
        ("caption", "adapter.safetensors"), ("cached-latents", "cache/one.safetensors"), ("picture-prompt", "samples/0.png"),
        ("training-pictures", "img"), ("training-pictures", "samples"), ("secret", "README.md"), ("captions-file", "img"),
        ("logs", "logs"), ("checkpoint", "checkpoint-500"), ("captions-file", "."), ("cached-latents", "."), ("history", ".git"),
        ("secret", "."), ("user-path", "config.json"), ("user-path", "adapter_config.json"), ("pickle", "."), ("user-path", "train.sh"),
        ("link-out", "link"),
    }  # fmt: skip
    assert "plain.safetensors" not in {one.path for one in seen.findings} and seen.files == 18 and "a folder of 18 files" in said


def test_a_clean_copy_holds_what_loading_takes(output, tmp_path):
    out = tmp_path / "clean"
    done = clean(output, out, keep=("rank",))
    assert set(done.cleaned) == {"adapter.safetensors", "plain.safetensors"}
    assert set(done.copied) == {"config.json", "adapter_config.json", "tokenizer/vocab.json"}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {*done.cleaned, *done.copied}
    assert "pnovak" not in "".join(path.read_text() for path in out.rglob("*.json"))
    assert set(done.left_out) >= {"README.md", "img/1.png", ".git/config", "link", "cache/one.safetensors"}
    _, seen = of_folder(out)
    assert [one for one in seen.findings if one.level != "note"] == [] and not any(one.asked for one in seen.untested)
    assert clean(output, None, keep=("rank",)) == done and not [path for path in tmp_path.iterdir() if "partial" in path.name]


def left_over(*folders):
    return [path for folder in folders for path in folder.iterdir() if path.suffix in (".partial", ".before")]


def test_a_bad_file_is_named_and_the_others_are_copied(output, tmp_path):
    out = tmp_path / "clean"
    whole = clean(output, None, keep=())
    (output / "bad.safetensors").write_bytes(b"no")
    (output / "model_index.json").write_text("{")
    os.mkfifo(output / "tokenizer" / "merges.txt")
    out.mkdir()
    (out / "before").write_text("an older copy")
    done = clean(output, out, keep=())
    assert set(done.bad) == {"bad.safetensors", "model_index.json", "tokenizer/merges.txt"} and all(done.bad.values())
    assert done.cleaned == whole.cleaned and done.copied == whole.copied
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {*done.cleaned, *done.copied}
    assert left_over(tmp_path) == []


def test_a_copy_that_cannot_be_made_leaves_what_was_there(output, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="inside"):
        clean(output, output / "clean", keep=())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.safetensors").write_bytes(b"no")
    for folder, why in ((tmp_path / "bad", "a.safetensors: only 2 bytes"), (tmp_path, "--trigger")):
        with pytest.raises(UserError, match=why):
            clean(folder, tmp_path.parent / "clean", keep=(), trigger=" " if folder == tmp_path else None)
    out = tmp_path / "clean"
    out.mkdir()
    (out / "before").write_text("an older copy")

    def full(*a, **how):
        raise UserError("no room") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scrub, "scrub", full)
    with pytest.raises(UserError, match="no room"):
        clean(output, out, keep=())
    assert (out / "before").exists() and left_over(tmp_path, tmp_path.parent, output) == []


def test_a_trigger_is_written_into_adapters_alone(output, tmp_path):
    out = tmp_path / "clean"
    done = clean(output, out, keep=("rank",), trigger="sks person")
    assert done.cleaned["adapter.safetensors"].kept.count("modelspec.trigger_phrase") == 1
    assert "sks person" in header_of(out / "adapter.safetensors").notes.values()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a/events.out.tfevents.1", "logs"), ("wandb/run/x.json", "logs"), ("x/optimizer.pt", "optimizer"),
        ("random_states_0.pkl", "optimizer"),
        ("step_100/x.bin", "checkpoint"), ("lora-step00000100.safetensors", "checkpoint"), ("id_rsa", "secret"), (".env.local", "secret"),
        ("img/a.JPG", "training-pictures"), ("a.caption", "captions-file"), (".DS_Store", "hidden-file"), ("model.safetensors", ""),
        ("README.md", ""), ("vae_cache/x.safetensors", "cached-latents"), ("x_latents.pt", "cached-latents"), ("history/a.txt", ""),
    ],
)  # fmt: skip
def test_names_tell(name, rule):
    assert kind_of(name) == rule


def test_secrets_are_seen_and_their_values_are_not_told(output):
    _, seen = of_folder(output)
    one = next(one for one in seen.findings if one.rule == "secret" and one.path == "README.md")
    assert one.place == "line 2" and TOKEN not in str(one)
    assert secrets.secrets("aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY'")
    assert not secrets.secrets('{"pad_token": "<|endoftext|>", "model_max_length": 77}\na plain caption\n' + "0" * 64)


def test_without_the_library_secrets_are_open(output, monkeypatch):
    monkeypatch.setattr(secrets, "installed", lambda: False)
    _, seen = of_folder(output)
    assert any("detect-secrets" in one.why for one in seen.untested)
    assert any(one.rule == "secret" and one.path == "README.md" for one in seen.findings)  # a hub's token is known without it


def test_where_a_picture_was_taken(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert {one.rule for one in of_folder(tmp_path)[1].findings} == {"training-pictures", "location"}


def test_many_files_are_soon_done_and_what_is_not_opened_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "TEXTS", 50)
    for number in range(2000):
        (tmp_path / f"{number}.txt").write_text("a caption")
    started = time.process_time()
    _, seen = of_folder(tmp_path)
    assert time.process_time() - started < 20 and seen.unread == 1950
    assert next(one for one in seen.untested if "1950" in one.what).asked
