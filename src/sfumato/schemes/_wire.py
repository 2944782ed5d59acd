"""What crosses the wire between owners and a server, counted as it crosses. Every message is a safetensors frame with JSON in its header.

An owner of a live scheme runs in a process of its own, so that its memory and its seconds are its own; ``Local`` is the same frames
without the process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from sfumato.accounting.accountant import Release
from sfumato.core import registry
from sfumato.core.artifact import from_bytes, metadata_of, read_json, to_bytes, write_json
from sfumato.core.errors import UserError
from sfumato.core.memory import peak_bytes
from sfumato.core.progress import Progress
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base
from sfumato.owner.folder import Folder, read_folder
from sfumato.records import privacy
from sfumato.server.fit import TrainConfig

Tensors = dict[str, torch.Tensor]


class Vanished(UserError):
    """An owner at the other end is gone."""


@dataclass
class Traffic:
    """Bytes and messages of one owner: up to the server, down to the owner."""

    bytes_up: int = 0
    bytes_down: int = 0
    messages_up: int = 0
    messages_down: int = 0


@dataclass
class Outcome:
    """What a scheme's run came to.

    Attributes:
        controlnet: the folder of what was trained.
        traffic: by owner.
        owners: by owner what it says of itself: ``pictures``, ``peak_bytes``, ``seconds``, ``flops``.
        ledger: what left of one picture.
        stated: what is guaranteed where it was no noised picture that left, but votes.
        online: whether an owner must stay until the last step.
        server_trains: whether a step is the server's work; else it only averages.
        notes: what a reader must know: owners that vanished, options that void a claim.
    """

    controlnet: Path
    traffic: dict[str, Traffic] = field(default_factory=dict)
    owners: dict[str, dict[str, float]] = field(default_factory=dict)
    ledger: tuple[Release, ...] = ()
    stated: dict[str, Any] | None = None
    online: bool = False
    server_trains: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every scheme is given: the same owners, base, steps and seed."""

    folders: dict[str, Path]
    base: Base
    out: Path
    config: TrainConfig
    condition: str = "canny"
    options: dict[str, Any] = field(default_factory=dict)
    connect: Callable[..., Peer] | None = None
    on_step: Callable[[Progress], None] = lambda progress: None

    def settings(self, *, captioned: bool = False, **more: Any) -> dict[str, Any]:
        """The settings of a ControlNet that a scheme of ours trained otherwise than from records."""
        return nets.describe(self.base, condition=self.condition, captioned=captioned, **more)

    def declare(self, scheme: str, left: Sequence[Release]) -> None:
        """Write beside what was trained by which scheme it was, and what that gave away of one picture."""
        path = self.out / nets.SETTINGS
        stated = privacy.statement(left) if left else {"guarantee": "not needed", "why": "nothing private left"}
        write_json(path, {**read_json(path, what="settings of a ControlNet"), "scheme": scheme, "privacy": stated})

    def peers(self, scheme: str) -> dict[str, Peer]:
        """An owner of ``scheme`` for each folder, each in its own process unless ``connect`` says otherwise."""
        connect = self.connect or Remote
        return {owner: connect(scheme, folder, self.base.name, self.condition, self.options) for owner, folder in self.folders.items()}


class Peer(Protocol):
    """An owner, as a server sees it."""

    traffic: Traffic

    def call(self, method: str, tensors: Tensors | None = None, *, asked: bool = True, **facts: Any) -> Tensors:
        """Let the owner do ``method``; with ``asked=False`` it does so by its own clock, and no message goes down."""
        ...

    def close(self) -> dict[str, float]:
        """End it; what it says of itself."""
        ...


class _Counted:
    def __init__(self, name: str) -> None:
        self._name = name
        self.traffic = Traffic()

    def call(self, method: str, tensors: Tensors | None = None, *, asked: bool = True, **facts: Any) -> Tensors:
        request = to_bytes(tensors or {}, {"method": method, "facts": json.dumps(facts)})
        if asked:
            self.traffic.bytes_down += len(request)
            self.traffic.messages_down += 1
        answer = self._exchange(request)
        notes = metadata_of(answer)
        if "error" in notes:
            raise UserError(f"{self._name}: {notes['error']}")
        found = from_bytes(answer, name=f"answer to {method}")
        if found:
            self.traffic.bytes_up += len(answer)
            self.traffic.messages_up += 1
        return found

    def _exchange(self, request: bytes) -> bytes:
        raise AssertionError("a peer exchanges frames")


class Local(_Counted):
    """An owner in this process."""

    def __init__(self, scheme: str, folder: Path, base: str, condition: str, options: dict[str, Any]) -> None:
        super().__init__(folder.name)
        self._desk = Desk(scheme, folder, base, condition, options)

    def _exchange(self, request: bytes) -> bytes:
        return self._desk.answer(request)

    def close(self) -> dict[str, float]:
        return self._desk.report()


class Remote(_Counted):
    """An owner in a process of its own."""

    def __init__(self, scheme: str, folder: Path, base: str, condition: str, options: dict[str, Any]) -> None:
        super().__init__(folder.name)
        words = json.dumps([scheme, str(folder), base, condition, options, torch.get_num_threads()])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sfumato.schemes._wire", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def _exchange(self, request: bytes) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            write_frame(self._process.stdin, request)
            answer = read_frame(self._process.stdout)
        except OSError as error:
            raise Vanished(f"owner {self._name}: its process is gone", fix="see its messages above; memory may have run out") from error
        if answer is None:
            raise Vanished(f"owner {self._name}: its process is gone", fix="see its messages above; memory may have run out")
        return answer

    def close(self) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            answer = self._exchange(to_bytes({}, {"method": "report", "facts": "{}"}))
            report: dict[str, float] = json.loads(metadata_of(answer)["report"])
        except Vanished:
            report = {}
        with contextlib.suppress(OSError):  # what a vanished owner never read is flushed once more
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        return report


class Desk:
    """The owner's end: opens its folder when it is first asked, does what it is asked, and counts its own seconds and FLOPs."""

    def __init__(self, scheme: str, folder: Path, base: str, condition: str, options: dict[str, Any]) -> None:
        self._words = (scheme, folder, base, condition, options)
        self._seconds, self._flops, self._calls = 0.0, Counter[str](), Counter[str]()
        self._pictures = 0
        self._owner: Any = None

    def _open(self) -> Any:
        scheme, folder, base, condition, options = self._words
        kind = registry.get("schemes", scheme).Owner
        loaded = kind.load(base)
        pictures: Folder = read_folder(folder, size=loaded.size, condition=condition)
        self._pictures = len(pictures)
        return self._timed("open", lambda: kind(pictures, loaded, **options))

    def answer(self, request: bytes) -> bytes:
        """Do what a frame asks for; what goes wrong is told, not raised."""
        notes = metadata_of(request)
        method = notes["method"]
        if method == "report":
            return to_bytes({}, {"report": json.dumps(self.report())})
        try:
            self._owner = self._owner or self._open()
            tensors = from_bytes(request, name="request")
            return to_bytes(self._timed(method, lambda: getattr(self._owner, method)(tensors, **json.loads(notes["facts"]))))
        except Exception as error:  # whatever it is, the other end must hear of it
            words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            return to_bytes({}, {"error": words})

    def report(self) -> dict[str, float]:
        """``pictures``, ``seconds`` and ``flops`` of everything that was asked, and this process' ``peak_bytes``."""
        flops = sum(self._flops[name] * calls for name, calls in self._calls.items())
        return {"pictures": self._pictures, "seconds": self._seconds, "flops": flops, "peak_bytes": peak_bytes()}

    def _timed(self, name: str, do: Callable[[], Any]) -> Any:
        from torch.utils.flop_counter import FlopCounterMode

        started = time.monotonic()
        if self._calls[name]:
            value = do()
        else:  # batches are alike: the first one is counted, the others are multiplied
            with FlopCounterMode(display=False) as counter:
                value = do()
            self._flops[name] = counter.get_total_flops()
        self._calls[name] += 1
        self._seconds += time.monotonic() - started
        return value


def write_frame(stream: BinaryIO | Any, data: bytes) -> None:
    """A length and a frame."""
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


def read_frame(stream: BinaryIO | Any) -> bytes | None:
    """The next frame, or ``None`` at the end."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "little")
    data: bytes = stream.read(size)
    return data if len(data) == size else None


def _serve() -> None:
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    scheme, folder, base, condition, options, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    frames, sys.stdout = sys.stdout.buffer, sys.stderr
    desk = Desk(scheme, Path(folder), base, condition, options)
    while (request := read_frame(sys.stdin.buffer)) is not None:
        write_frame(frames, desk.answer(request))


if __name__ == "__main__":
    _serve()
