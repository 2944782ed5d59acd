"""``--threads``: how many cores a command takes. Set before torch is loaded, which reads it once.

Threads that wait for one another do so asleep: on a machine where others work, those that spin take what the others need.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Cores to compute on. [default: all, or OMP_NUM_THREADS]", show_default=False)
]


def wait_asleep() -> None:
    """Let threads of this process and its children sleep while they wait, unless the environment says otherwise."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # the same for another maker's OpenMP


def threaded(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option ``--threads`` before its last."""

    @functools.wraps(command)
    def run(*, threads: int | None = None, **given: Any) -> None:
        with limited(threads):
            command(**given)

    known = inspect.signature(command, eval_str=True)
    own = inspect.Parameter("threads", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Threads)
    *others, last = (parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in known.parameters.values())
    parameters = [*others, own, last]
    run.__signature__ = known.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Inside, torch computes on so many cores, in children, too; None leaves it as it is."""
    if threads is None:
        yield
        return
    before = {name: os.environ.get(name) for name in VARIABLES}
    loaded = sys.modules.get("torch")
    count = loaded.get_num_threads() if loaded else 0
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    if loaded:
        loaded.set_num_threads(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        if loaded:
            loaded.set_num_threads(count)
