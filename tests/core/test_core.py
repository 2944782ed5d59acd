import json
import os

import pytest
import torch

from sfumato.core import artifact, registry
from sfumato.core.device import choose_precision
from sfumato.core.errors import PrivacyError, UserError


def test_errors_say_all_four_things():
    error = PrivacyError("got this", expected="that", fix="do so", privacy="or else")
    assert str(error).splitlines() == ["got this", "expected: that", "fix: do so", "privacy: or else"]
    assert str(UserError("only this")) == "only this" and isinstance(error, ValueError)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    artifact.write_atomic(path, b"old")

    def full(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        artifact.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_json_and_tensors_come_back(tmp_path):
    artifact.write_json(tmp_path / "a.json", {"b": [1, None]})
    assert artifact.read_json(tmp_path / "a.json", what="test") == {"b": [1, None]}
    x = torch.arange(6.0).view(2, 3)
    data = artifact.to_bytes({"x": x.T})
    assert torch.equal(artifact.from_bytes(data, name="x")["x"], x.T)
    with pytest.raises(UserError, match="cut short"):
        artifact.from_bytes(data[:-3], name="x")
    assert artifact.sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_missing_and_broken_json_are_named(tmp_path):
    with pytest.raises(UserError, match="no manifest there"):
        artifact.read_json(tmp_path / "none.json", what="manifest")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match=r"bad\.json: not a readable manifest"):
        artifact.read_json(tmp_path / "bad.json", what="manifest")


def test_methods_are_found_by_file_name():
    assert {"canny", "scribble", "given"} <= set(registry.names("conditions"))
    assert registry.get("conditions", "canny").__name__ == "sfumato.conditions.canny"
    with pytest.raises(ValueError, match=r"unknown name 'cany'.*canny"):
        registry.get("conditions", "cany")


def test_precision_is_one_that_the_trainer_takes():
    assert choose_precision() in ("no", "bf16", "fp16")


def test_written_json_is_plain(tmp_path):
    artifact.write_json(tmp_path / "x.json", {"b": 1, "a": 2})
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["a", "b"]


def test_notes_come_back_and_none_is_empty():
    x = {"x": torch.zeros(2)}
    assert artifact.metadata_of(artifact.to_bytes(x, {"run": "é", "n": "1"})) == {"run": "é", "n": "1"}
    assert artifact.metadata_of(artifact.to_bytes(x)) == {}


def test_private_files_are_their_owners_alone(tmp_path):
    artifact.write_atomic(tmp_path / "key", b"secret", private=True)
    artifact.write_atomic(tmp_path / "deep/down/open", b"words")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "deep/down/open").read_bytes() == b"words"
    artifact.write_atomic(tmp_path / "key", b"other", private=True)  # replaced, and still private
    assert (tmp_path / "key").read_bytes() == b"other" and (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_what_a_library_draws_inside_depends_on_the_keys_and_leaves_the_global_state():
    from sfumato.core.randomness import seeded

    before = torch.random.get_rng_state()
    drawn = []
    for keys in ((1, 2), (1, 2), (2, 1)):
        with seeded(*keys):
            drawn.append(torch.nn.Linear(4, 4).weight.detach().clone())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_tensors_and_notes_are_the_same_bytes():
    tensors, notes = {"b": torch.arange(3.0), "a": torch.ones(2, 2)}, {name: name * 3 for name in "zyxwvutsrqponmlkji"} | {"umlaut": "ü"}
    written = {artifact.to_bytes(tensors, dict(list(notes.items())[::step])) for step in (1, -1) for _ in range(8)}
    assert len(written) == 1
    data = written.pop()
    assert artifact.metadata_of(data) == notes
    read = artifact.from_bytes(data, name="x")
    assert torch.equal(read["b"], tensors["b"]) and torch.equal(read["a"], tensors["a"])


def test_headers_that_loaders_would_read_in_different_ways_are_refused():
    tensor = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'

    def read(header):
        data = header.encode()
        return artifact.from_bytes(len(data).to_bytes(8, "little") + data + bytes(4), name="x")

    assert read(f'{{"a": {tensor}}}')["a"].shape == (1,) and read(f'{{"__metadata__": null, "a": {tensor}}}')
    for header, said in (
        (f'{{"a": {tensor}, "a": {tensor}}}', "twice"),
        (f'{{"__metadata__": {{}}, "__metadata__": null, "a": {tensor}}}', "twice"),
        (f'{{"__metadata__": {{"n": 1}}, "a": {tensor}}}', "not a readable"),
        (f'{{"{"n" * 1001}": {tensor}}}', "1001 characters"),
        ('{"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}', "not a readable"),
        (f'{{"a": {tensor}, "b": {{"dtype": "F32", "shape": [{2**63}, 0], "data_offsets": [4, 4]}}}}', "does not say"),
        (f'{{"a": {tensor}, "b": {{"dtype": "F32", "shape": [0, {2**40}, {2**40}], "data_offsets": [4, 4]}}}}', "does not say"),
    ):
        with pytest.raises(UserError, match=said) as raised:
            read(header)
        assert "cut short" not in str(raised.value)


def test_a_full_flush_where_the_system_has_one_and_none_where_it_fails(tmp_path, monkeypatch):
    import fcntl

    asked = []
    monkeypatch.setattr(artifact, "_FULL_FLUSH", 51)
    monkeypatch.setattr(fcntl, "fcntl", lambda handle, what: asked.append(what))
    artifact.write_atomic(tmp_path / "a", b"x")
    assert asked == [51, 51]  # the file, and the folder that names it
    monkeypatch.setattr(fcntl, "fcntl", lambda handle, what: (_ for _ in ()).throw(OSError(25, "not a typewriter")))
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    artifact.write_atomic(tmp_path / "b", b"y")
    assert len(flushed) == 2 and (tmp_path / "b").read_bytes() == b"y"


def test_a_folder_that_cannot_be_flushed_is_written_to_all_the_same(tmp_path, monkeypatch):
    real = os.open

    def no_folders(path, flags, *more):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", no_folders)
    artifact.write_atomic(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
