"""Words that say nothing to a base are known by its tokenizer."""

import pytest

from sfumato.diffusion.base import load_text_codec
from sfumato.diffusion.words import unknown


class Spelling:
    """A tokenizer that knows the word "peep", spells others by letters, and has none for digits."""

    unk_token = "?"

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def tokenize(self, word):
        return [word] if word == "peep" else ["?" if letter.isdigit() else letter for letter in word]


@pytest.mark.parametrize(("size", "odd"), [(640, ("horse", "h2")), (49408, ("h2",))])
def test_words_without_a_token_and_of_few_words_those_that_are_spelled(size, odd):
    assert unknown("peep, horse; h2 peep horse!", Spelling(size)) == odd
    assert unknown("", Spelling(size)) == unknown("peep", Spelling(size)) == ()


def test_the_tiny_base_knows_the_words_of_its_captions():
    tokenizer = load_text_codec("tiny").tokenizer
    assert unknown("a peep with black afro hair, smiling, blue background", tokenizer) == ()
    assert unknown("a horse, 日本", tokenizer) == ("horse", "日本")
