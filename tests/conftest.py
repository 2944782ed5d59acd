"""Fixtures: a random-weight base that diffusers itself writes, and folders of pictures."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes of one thread get more done than two of two; read when libraries are loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests_support import plug_in as install
from tests_support import write_pipeline


def pytest_configure(config):
    """Before any test.

    Ctrl-C is Python's own, also where a shell took it from what it runs in the background. Pictures that tests draw are kept from one
    test, and one run, to the next: the store draws them again where they are not its own.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = getattr(config, "cache", None)
    if kept is not None:
        os.environ.setdefault("SFUMATO_CACHE", str(kept.mkdir("pictures")))


DEAR = ("schemes", "attacker", "studies", "benchmarks", "cli", "recipes", "server", "owner", "adapters")


def pytest_collection_modifyitems(items):
    """Folders whose tests take longest come first, so that no process is left with them at the end."""
    here = Path(__file__).parent

    def place(item):
        folder = item.path.relative_to(here).parts[0]
        return DEAR.index(folder) if folder in DEAR else len(DEAR)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _as_before():
    """What a test changes of its process the next does not inherit: handlers of signals (a launcher and Ray leave their own), and the
    number of threads that torch computes with, of which two in each of two processes wait for one another."""
    known = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in known}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    torch = sys.modules.get("torch")
    if torch is not None and "PYTEST_XDIST_WORKER" in os.environ and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    """A folder with a random-weight base for 32-pixel pictures."""
    return write_pipeline(tmp_path_factory.mktemp("mini") / "base", family="mini")


@pytest.fixture(scope="session")
def base(mini):
    from sfumato.diffusion.base import load_base

    return load_base(str(mini))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A private place for keys and ledgers."""
    path = tmp_path / "home"
    monkeypatch.setenv("SFUMATO_HOME", str(path))
    return path


@pytest.fixture
def make_folder(tmp_path):
    """Write a folder of ``count`` different pictures with captions."""

    def make(name: str = "private", count: int = 10, seed: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        draw = np.random.default_rng(seed)
        rows = []
        for i in range(count):
            image = np.kron(draw.integers(0, 255, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            Image.fromarray(image).save(folder / f"secret-{i}.png")
            rows.append(json.dumps({"file_name": f"secret-{i}.png", "text": f"caption-of-{i}"}))
        (folder / "metadata.jsonl").write_text("\n".join(rows))
        return folder

    return make


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Install a distribution with entry points for one test: ``plug_in({group: {name: value}}, module=source)``."""
    from sfumato.core import registry

    with monkeypatch.context() as patch:
        yield lambda entries, **more: install(patch, tmp_path / "site", entries, **more)
    registry.forget()
