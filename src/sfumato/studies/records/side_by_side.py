"""Attacks of one audit, several at a time, in processes that are forked when all that they need is there.

A forked process shares what was read and drawn before, so nothing is loaded twice. It computes on one
thread: what a parent's threads held is not there in a child, and who waits for it waits for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2
import torch

from sfumato.core.errors import UserError

T = TypeVar("T")
MOST = 4  # processes; each takes a gigabyte or two beside what is shared
_do: Callable[[Any], Any] | None = None  # what a forked process does: it cannot be sent, but it is there


def possible(device: torch.device) -> int:
    """How many at a time: a process for each of torch's threads, or 1 where none can be forked."""
    if device.type != "cpu" or not sys.platform.startswith("linux") or "fork" not in multiprocessing.get_all_start_methods():
        return 1
    return max(1, min(MOST, torch.get_num_threads()))


def each(units: Sequence[T], do: Callable[[T], Any], jobs: int) -> Iterator[tuple[T, Any]]:
    """``do(unit)`` for every unit, the first ones first, each pair as soon as it is there; with ``jobs`` above 1 in forked processes.

    Raises:
        UserError: a process was killed; what came before is with the caller.
    """
    global _do
    if jobs == 1 or len(units) < 2:
        for unit in units:
            yield unit, do(unit)
        return
    _do = do
    try:
        with ProcessPoolExecutor(min(jobs, len(units)), mp_context=multiprocessing.get_context("fork"), initializer=_alone) as pool:
            try:
                with warnings.catch_warnings():  # of threads that a child does not have: it uses none
                    warnings.simplefilter("ignore", DeprecationWarning)
                    asked = {pool.submit(_call, unit): unit for unit in units}
                for done in as_completed(asked):
                    yield asked[done], done.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "one of the processes was killed",
                    expected="a gigabyte or two of memory for each",
                    fix="--jobs 1; run it again to go on",
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        _do = None


def _alone() -> None:
    """In a child: no threads but its own, and an end with its parent."""
    from sfumato.studies.records.matrix import attend

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    os.environ["OMP_NUM_THREADS"] = "1"
    attend()


def _call(unit: Any) -> Any:
    assert _do is not None
    return _do(unit)
