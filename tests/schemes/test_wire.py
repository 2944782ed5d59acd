"""Frames, what is counted of them, and what happens when the other end is not what it should be."""

import io
import json

import pytest
import torch

from sfumato.accounting.accountant import Release
from sfumato.core.artifact import metadata_of, to_bytes
from sfumato.core.errors import UserError
from sfumato.diffusion import controlnet as nets
from sfumato.schemes import _wire
from sfumato.schemes._wire import Desk, Job, Traffic, Vanished, read_frame, write_frame
from sfumato.server.fit import TrainConfig


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 70_000])
def test_frames_come_back_one_by_one(data):
    stream = io.BytesIO()
    for part in (data, b"between", data):
        write_frame(stream, part)
    stream.seek(0)
    assert [read_frame(stream) for _ in range(4)] == [data, b"between", data, None]


@pytest.mark.parametrize("kept", [0, 3, 8, 11])
def test_a_frame_that_is_cut_short_is_an_end(kept):
    stream = io.BytesIO()
    write_frame(stream, b"whole")
    assert read_frame(io.BytesIO(stream.getvalue()[:kept])) is None


class Echo(_wire._Counted):
    """Answers with what it was asked, or with an error."""

    def __init__(self, error=""):
        super().__init__("echo")
        self.error, self.sizes = error, []

    def _exchange(self, request):
        answer = to_bytes({}, {"error": self.error}) if self.error else request
        self.sizes.append((len(request), len(answer)))
        return answer


def test_what_is_counted_is_what_crossed():
    peer, tensors = Echo(), {"a": torch.arange(6.0), "b": torch.ones(2, 2, dtype=torch.int8)}
    found = peer.call("x", tensors, step=3)
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    (down, up), *_ = peer.sizes
    assert peer.traffic == Traffic(bytes_up=up, bytes_down=down, messages_up=1, messages_down=1) and up > 6 * 4 + 4


def test_by_its_own_clock_nothing_goes_down_and_an_empty_answer_is_no_message():
    peer = Echo()
    peer.call("x", {"a": torch.zeros(1)}, asked=False)
    assert (peer.traffic.messages_down, peer.traffic.bytes_down, peer.traffic.messages_up) == (0, 0, 1)
    peer.call("y")
    assert (peer.traffic.messages_down, peer.traffic.messages_up) == (1, 1)


def test_an_error_at_the_other_end_is_told_with_its_name_and_not_counted_as_an_answer():
    peer = Echo(error="no picture could be read")
    with pytest.raises(UserError, match="echo: no picture could be read"):
        peer.call("x")
    assert peer.traffic.messages_up == 0


class Dead:
    """A process that is gone."""

    class stdin:
        @staticmethod
        def write(data):
            raise BrokenPipeError

        close = flush = staticmethod(lambda: (_ for _ in ()).throw(BrokenPipeError()))

    class stdout:
        close = staticmethod(lambda: None)
        read = staticmethod(lambda n: b"")

    @staticmethod
    def wait():
        return -9


def test_a_dead_process_is_a_vanished_owner_and_closes_without_a_word():
    peer = _wire.Remote.__new__(_wire.Remote)
    _wire._Counted.__init__(peer, "bob")
    peer._process = Dead()
    with pytest.raises(Vanished, match="owner bob: its process is gone"):
        peer.call("epoch")
    assert peer.close() == {}


def test_a_desk_tells_whatever_goes_wrong(tmp_path, mini, monkeypatch):
    def ask(desk, method="send", **facts):
        return metadata_of(desk.answer(to_bytes({}, {"method": method, "facts": json.dumps(facts)}))).get("error", "")

    assert "no such folder" in ask(Desk("centralised", tmp_path / "nowhere", str(mini), "canny", {}))
    assert "unknown name 'magic'" in ask(Desk("magic", tmp_path, str(mini), "canny", {}))
    assert "no vae/config.json" in ask(Desk("centralised", tmp_path, str(tmp_path), "canny", {}))
    (tmp_path / "a.png").write_bytes(b"")
    desk = Desk("centralised", tmp_path, str(mini), "canny", {})
    monkeypatch.setattr(type(tmp_path), "read_bytes", lambda self: (_ for _ in ()).throw(MemoryError("too large")))
    assert ask(desk).startswith("MemoryError") and ask(desk, nonsense=1).startswith("TypeError")


def test_flops_are_counted_once_and_multiplied(make_folder, mini):
    desk = Desk("oneway", make_folder(count=3), str(mini), "canny", {"insecure_seed": 0})
    request = to_bytes({}, {"method": "epoch", "facts": "{}"})
    desk.answer(request)
    once = desk.report()
    desk.answer(request)
    twice = desk.report()
    assert once["flops"] == twice["flops"] > 0  # an epoch is elementwise: what counts is the VAE, when the folder was opened
    assert twice["seconds"] > once["seconds"] and twice["pictures"] == 3


def test_settings_name_the_base_and_a_declaration_says_what_left(base, tmp_path):
    job = Job(folders={}, base=base, out=tmp_path, config=TrainConfig(steps=3), condition="scribble")
    settings = job.settings(activation="identity")
    assert settings["base"]["unet"] == base.unet_fingerprint and settings["condition"] == "scribble" and "train" not in settings
    _wire.write_json(tmp_path / nets.SETTINGS, settings)
    job.declare("oneway", (Release(what="picture", alpha=0.5, sigma=0.8, clip=1.0, void="eps travels"),))
    found = json.loads((tmp_path / nets.SETTINGS).read_text())
    assert found["scheme"] == "oneway" and found["activation"] == "identity"
    assert found["privacy"]["guarantee"] == "none" and "eps travels" in found["privacy"]["why"] and "epsilon" not in found["privacy"]
    job.declare("public", ())
    assert json.loads((tmp_path / nets.SETTINGS).read_text())["privacy"]["why"] == "nothing private left"
