"""Several shared files in one call: each is answered by itself, whatever the others are."""

import base64
import os
from pathlib import Path

import pytest
import torch

from sfumato.core.artifact import to_bytes
from sfumato.studies.lora import attacker
from sfumato.studies.lora import files as lora_files

STEM = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
PLAIN = {f"{STEM}.lora_A.weight": torch.ones(2, 4), f"{STEM}.lora_B.weight": torch.ones(4, 2)}


@pytest.fixture
def answered(base, tmp_path, monkeypatch, home):
    """Answers of the files under these names; what reads pictures out of an adapter is left out."""
    monkeypatch.setattr(attacker, "named", lambda base, paths: {})
    monkeypatch.setattr(attacker, "shipped", lambda base: tmp_path)
    read = []

    def one(base, adapter, encoders, sheet, **how):
        read.append(sheet.name)
        if "faulty" in sheet.name:
            raise TypeError("unsupported operand")
        return {"pictures": str(sheet), "unknown keys": list(adapter.unknown)}

    monkeypatch.setattr(lora_files, "_one", one)
    return lambda *names: (lora_files.attack_files(base, [tmp_path / name for name in names], [], tmp_path / "out")["files"], read)


def test_what_cannot_be_read_stops_nothing(answered, tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "endless.safetensors").symlink_to("/dev/zero")
    (tmp_path / "folder.safetensors").mkdir()
    with open(tmp_path / "big.safetensors", "wb") as file:
        file.truncate(5 * 2**30)
    header = (
        b'{"__metadata__": {"ss_steps": 7, "ss_training_comment": "hush"}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    )
    (tmp_path / "numbers.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (tmp_path / "good.safetensors").write_bytes(to_bytes(PLAIN, {"training_info": '{"step": 1500, "epoch": 3}'}))
    bad = ["pipe.safetensors", "endless.safetensors", "folder.safetensors", "big.safetensors", "none.safetensors", "numbers.safetensors"]
    files, read = answered(*bad, "good.safetensors")
    assert read == ["good.png"] and files["good.safetensors"]["header"]["steps"] == 1500
    for name, said in zip(
        bad, ("not a file", "not a file", "not a file", "larger than any", "no such file", "not a readable"), strict=True
    ):
        assert said in files[name]["error"]
    assert files["numbers.safetensors"]["header"]["comments"] == ["hush"]  # what it says is told though its tensors are not read


def test_a_fault_of_ours_with_one_file_is_kept_and_takes_nothing_from_the_next(answered, tmp_path, home):
    for name in ("faulty.safetensors", "good.safetensors"):
        (tmp_path / name).write_bytes(to_bytes(PLAIN))
    files, _ = answered("faulty.safetensors", "good.safetensors")
    assert "a fault of sfumato" in files["faulty.safetensors"]["error"] and "pictures" in files["good.safetensors"]
    (kept,) = (home / "faults").iterdir()
    assert "unsupported operand" in kept.read_text() and kept.stat().st_mode & 0o077 == 0


def test_files_of_one_name_have_pictures_of_their_own(answered, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.safetensors").write_bytes(to_bytes(PLAIN))
    (tmp_path / "x.lora").write_bytes(to_bytes(PLAIN))
    files, read = answered("a/x.safetensors", "b/x.safetensors", "x.lora", "a/x.safetensors", "a/x.safetensors")
    assert len(files) == 5 and len(set(read)) == 5


def test_a_picture_of_the_header_is_written_out_and_called_so(answered, tmp_path):
    picture = b"\x89PNG\r\n\x1a\n" + bytes(20)
    said = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
    (tmp_path / "a.safetensors").write_bytes(to_bytes(PLAIN, {"modelspec.thumbnail": said, "note": "data:image/png;base64,!!"}))
    (tmp_path / "b.safetensors").write_bytes(to_bytes(PLAIN))
    found, _ = answered("a.safetensors", "b.safetensors")
    (path,) = found["a.safetensors"]["written out"]
    assert path.endswith("a-header-picture-1.png") and Path(path).read_bytes() == picture  # by its bytes, not by what the note says
    assert Path(path).stat().st_mode & 0o077 == 0 and found["b.safetensors"]["written out"] == []
