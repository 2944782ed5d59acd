"""A hub that cannot be reached is found out soon."""

import subprocess
import sys
import time

import pytest

from sfumato.core.errors import UserError
from sfumato.diffusion import hub
from sfumato.diffusion.base import load_codec


@pytest.fixture(autouse=True)
def online(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def refuse(host, port):
    raise OSError("no route")


def test_a_hub_that_answers_is_enough():
    asked = []
    hub.reach(connect=lambda host, port: asked.append((host, port)))
    assert len(asked) == 1 and asked[0][1] == 443


def test_one_that_refuses_or_never_answers_is_named():
    with pytest.raises(hub.Unreachable, match="no route"):
        hub.reach(connect=refuse)
    started = time.monotonic()
    with pytest.raises(hub.Unreachable, match="within"):
        hub.reach(seconds=0.05, connect=lambda host, port: time.sleep(10))
    assert time.monotonic() - started < 9


def test_a_proxy_is_asked_in_its_place(monkeypatch):
    asked = []
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    hub.reach(connect=lambda host, port: asked.append((host, port)))
    assert asked == [("proxy.invalid", 3128)]


def test_a_base_that_nobody_reaches_is_said_before_any_model_library_is_loaded():
    """The libraries take longer to load than a network takes to say no."""
    code = (
        "import sys; from sfumato.core.errors import UserError; from sfumato.diffusion import hub, quiet; from sfumato.diffusion.base "
        "import load_base, load_codec; quiet.quiet_libraries()\n"
        "def nobody(**how): raise hub.Unreachable('nobody there')\n"
        "hub.reach = nobody\n"
        "for load in (load_base, load_codec):\n"
        "    try: load('nobody/such-base')\n"
        "    except UserError as error: assert 'nobody there' in str(error)\n"
        "    else: sys.exit('it was reached')\n"
        "print(sorted({'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_asked_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.reach(connect=refuse)


def test_a_base_that_cannot_be_reached_is_one_answer(monkeypatch):
    monkeypatch.setattr(hub, "_connect", refuse)
    with pytest.raises(UserError, match="some/base: .*no route") as stop:
        load_codec("some/base")
    assert "pass its folder" in stop.value.fix and "\n" not in stop.value.got
