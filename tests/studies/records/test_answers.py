"""Whatever an attack raises or returns, it is an answer; and what is kept of it can be written and read again."""

import json

import numpy as np
import pytest
import torch

from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Noise
from sfumato.attacker.records.base import Guess
from sfumato.core.outside import parse_json
from sfumato.studies.records import answers

Z = torch.zeros(3, 4, 8, 8)
RAISED = (
    StopIteration(),
    KeyError("z"),
    MemoryError(),
    RuntimeError("x" * 999),
    AssertionError(),
    SystemExit(0),
    RecursionError(),
    TypeError(),
)


def raising(error):
    def attack():
        raise error

    return attack


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_attack_may_raise_anything(error):
    found = answers.tried(raising(error), count=3)
    assert isinstance(found, Failed) and found.cause.startswith(type(error).__name__) and "test_answers.py" in found.cause
    assert len(found.cause) < 2 * answers.WORDS


def test_only_an_interrupt_gets_through():
    with pytest.raises(KeyboardInterrupt):
        answers.tried(raising(KeyboardInterrupt()), count=3)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Z,
        Guess(),
        Guess(z_0=Z[:0]),
        Guess(z_0=torch.cat([Z, Z])),  # of more records than there are
        Guess(z_0=Z, c=Z[:2]),
        Guess(z_0=Z[0]),
        Guess(z_0=Z.numpy()),
        Guess(z_0=Z + torch.nan),
        Guess(scores=torch.full((3, 5), torch.inf)),
        Guess(scores=[[1.0]]),
        Guess(images=np.zeros((3, 8, 8, 3))),
        Guess(images=np.zeros((3, 8, 8, 4), np.uint8)),
        Guess(embeddings=np.ones((3, 5), np.float32)),
        Guess(embeddings=np.full((3, 5), np.nan), embed=lambda images: images),
        Guess(prompts=["a", 3, None]),
        Guess(prompts="abc"),
    ],
)
def test_an_attack_may_return_anything(answer):
    assert isinstance(answers.tried(lambda: answer, count=3), Failed)


def test_what_is_an_answer_stays_one():
    for answer in (Guess(z_0=Z), Guess(z_0=Z[:2], prompts=["a", "b"]), Guess(scores=torch.ones(3, 1)), NoChannel((Noise,)), Failed("x"),
                   Guess(embeddings=np.ones((3, 5), np.float32), embed=lambda images: images)):  # fmt: skip
        assert answers.tried(lambda answer=answer: answer, count=3) is answer


def test_what_is_kept_of_an_answer_can_be_read_again():
    odd = {"a": Z, 3: np.float32(2), "nan": float("nan"), "inf": [-np.inf, (np.int64(4), None)], "text": "x", "yes": True}
    kept = parse_json(json.dumps(answers.plain(odd)).encode(), name="x", what="figures")
    assert kept["3"] == 2 and kept["nan"] == "nan" and kept["inf"] == ["-inf", [4, None]] and kept["yes"] is True
