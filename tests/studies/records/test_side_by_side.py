"""Forked processes do what they are told, in any order, and an end of one is said."""

import os

import pytest
import torch

from sfumato.core.errors import UserError
from sfumato.studies.records import side_by_side


def test_all_units_are_done_whatever_the_number_of_processes():
    shared = torch.arange(5)  # seen by children without being sent
    for jobs in (1, 3):
        assert dict(side_by_side.each(range(5), lambda k: int(shared[k]) ** 2, jobs)) == {k: k * k for k in range(5)}


def test_children_are_others_and_compute_on_one_thread():
    found = dict(side_by_side.each(range(4), lambda k: (os.getpid(), torch.get_num_threads()), 2))
    assert os.getpid() not in {pid for pid, _ in found.values()}
    assert {threads for _, threads in found.values()} == {1}


def test_a_killed_process_is_said():
    with pytest.raises(UserError, match="killed"):
        dict(side_by_side.each([1, 2], lambda k: os._exit(9), 2))


def test_an_error_comes_as_it_is():
    with pytest.raises(ZeroDivisionError):
        dict(side_by_side.each([0, 1], lambda k: 1 // k, 2))


def test_no_more_than_threads_and_none_beside_an_accelerator(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert side_by_side.possible(torch.device("cpu")) == 3
    assert side_by_side.possible(torch.device("meta")) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert side_by_side.possible(torch.device("cpu")) == side_by_side.MOST
