"""Processes of tests, forked from one that has loaded the libraries: a start takes a moment, where a new interpreter takes ten seconds.

What they run lies here, for a process that starts imports it by name. They have the environment of the test that was first to ask for
one: whatever matters of it is an argument.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LOADED = (
    "torch", "diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_2d_condition",
    "transformers.models.clip.modeling_clip", "transformers.models.clip.tokenization_clip", "sfumato.adapters.dreambooth",
    "sfumato.owner.seal", "sfumato.server.train", "sfumato.studies.records.matrix",
)  # fmt: skip


def forked() -> ForkServerContext:
    """In place of ``get_context("spawn")``: processes that share nothing with this one, either."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


@contextmanager
def started(act: Callable[..., Any], *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process that does ``act(say, *arguments)``, and the end of a pipe where what it says is read; why it failed, too."""
    context = forked()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_act, args=(there, act, *arguments))
    process.start()
    there.close()
    try:
        yield process, here
    finally:
        process.kill()  # gone already, unless the test failed
        process.join()
        here.close()


def _act(there: Connection, act: Callable[..., Any], *arguments: Any) -> None:
    try:
        act(there.send, *arguments)
    except BaseException:
        there.send(traceback.format_exc())
        raise


def ends(process: BaseProcess, here: Connection) -> list[Any]:
    """All that it says until it is gone."""
    said = []
    try:
        while True:
            said.append(here.recv())
    except (EOFError, OSError):  # the end, or a message that was cut short
        process.join()
        return said


def train_on(say: Callable[[Any], None], base: str, out: Path, steps: int) -> None:
    """Train, and say every step; slowly enough that a test can kill it at the step that it wants."""
    from server_support import config, records
    from sfumato.diffusion.base import load_base
    from sfumato.server.train import train

    def told(progress: Any) -> None:
        say(progress.step)
        time.sleep(0.01)

    train(records(), load_base(base), out, config(steps=steps, checkpoint_every=1), on_step=told)


def seal_on(say: Callable[[Any], None], base: str, folder: Path, out: Path, home: str) -> None:
    """Seal in shards of four, and say every picture, slowly."""
    from sfumato.diffusion.base import load_codec
    from sfumato.owner import seal as sealing
    from sfumato.owner.folder import read_folder
    from sfumato.records.record import SealSettings

    os.environ["SFUMATO_HOME"] = home
    sealing.SHARD_RECORDS = 4

    def told(done: int, total: int) -> None:
        say(done)
        time.sleep(0.01)

    settings = SealSettings(condition="canny", seal_step=600, condition_step=200)
    pictures = read_folder(folder, size=32, condition="canny")
    sealing.seal(pictures, out, owner="alice", codec=load_codec(base), settings=settings, on_picture=told)


def launched(count: int, act: Callable[..., Any], *arguments: Any) -> dict[int, Any]:
    """What ``act(*arguments)`` gives in each of so many processes, by rank: ``torchrun --standalone``, but that they are forked."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    forked()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id="test", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        start_method="forkserver", max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    try:
        given: dict[int, Any] = elastic_launch(config, act)(*arguments)
    finally:  # the launcher leaves its own in this process
        for number, handler in before.items():
            signal.signal(number, handler)
    return given


def train_with_others(base: str, out: Path) -> list[tuple[float, float | None]]:
    """One of several processes that train together; the losses, of all records and of those held out, that it was told."""
    from server_support import SHARED, drawn
    from sfumato.core import processes
    from sfumato.diffusion.base import load_base
    from sfumato.diffusion.quiet import quiet_libraries
    from sfumato.server.export import work_folder
    from sfumato.server.train import train

    quiet_libraries()
    with processes.joined():
        loaded, told = load_base(base), []
        train(drawn(loaded, work_folder(out)), loaded, out, SHARED, on_step=told.append)
        assert bool(told) == processes.is_main() and processes.count() == 2
    return [(progress.loss, progress.held_out_loss) for progress in told]
