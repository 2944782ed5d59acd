"""Captions out of their contexts."""

import pytest
import torch

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Contexts, Scenario
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.randomness import generator

CAPTIONS = [
    "an adventurer with platinum short hair, light skin, white background",
    "an adventurer with turquoise long hair, pale skin, green background",
    "an adventurer with platinum short hair, light skin, glasses, navy background",
    "zebra 7!",
    "",
    "an adventurer with platinum short hair, light skin, white background",
]


@pytest.fixture(scope="module")
def context(tiny):
    return tiny.embed(CAPTIONS)


def test_captions_are_read_word_by_word(tiny, context):
    kept, told = context.clone(), []
    guess = attempt("text_inversion", Scenario(Contexts(context), tiny), tell=lambda *a: told.append(a))
    assert isinstance(guess, Guess) and guess.prompts == CAPTIONS
    assert torch.equal(context, kept) and told[-1] == (31, 31)
    assert all(miss < 1e-4 for _, miss in guess.curve)


def test_alike_beginnings_and_known_tokens_save_looks(tiny, context):
    looks = [attempt("text_inversion", Scenario(Contexts(part), tiny)).budget["looks"] for part in (context[:1], context)]
    words = len(tiny.tokenizer(CAPTIONS[0]).input_ids) - 1
    assert looks[0] <= words * 1.1 * len(tiny.tokenizer)
    assert looks[1] < 4 * looks[0]  # six captions
    again = attempt("text_inversion", Scenario(Contexts(context[[0, 5]]), tiny))
    assert again.budget["looks"] == looks[0] and again.prompts[0] == again.prompts[1] == CAPTIONS[0]


def test_half_precision_hides_nothing(tiny, context):
    assert attempt("text_inversion", Scenario(Contexts(context[:2].half()), tiny)).prompts == CAPTIONS[:2]


def test_a_letter_soup_is_read_on_another_base(base):
    words = ["q w e", "zz", "a b c d"]
    found = attempt("text_inversion", Scenario(Contexts(base.embed(words)), base)).prompts
    tokens = [base.tokenizer(texts).input_ids for texts in (found, words)]
    assert tokens[0] == tokens[1]


def test_pure_noise_gives_chance(base):
    words = ["q w e", "a b c d e f", "z y x"]
    guess = attempt("text_inversion", Scenario(Contexts(torch.randn(base.embed(words).shape, generator=generator(1))), base))
    whole = {"padding": "max_length", "max_length": 12, "truncation": True}
    found, true = (base.tokenizer(texts, **whole).input_ids for texts in (guess.prompts, words))
    right = [f == t for row in zip(found, true, strict=True) for f, t in zip(*row, strict=True) if t > 1]
    assert len(right) == 12 and sum(right) <= 3


def test_without_contexts_there_is_no_channel(tiny):
    assert attempt("text_inversion", Scenario(tiny)) == NoChannel((Contexts,))
