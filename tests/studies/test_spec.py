"""A scheme and its options in one word."""

import pytest

from sfumato.core.errors import UserError
from sfumato.studies.spec import name_of, parse


def test_values_are_numbers_none_or_words():
    word = "sealed:seal_step=700, clip=8.5,condition_step=none,condition=derived"
    assert parse(word) == ("sealed", {"seal_step": 700, "clip": 8.5, "condition_step": None, "condition": "derived"})
    assert isinstance(parse("a:n=7")[1]["n"], int) and isinstance(parse("a:n=7.0")[1]["n"], float)
    assert parse("public") == ("public", {}) and name_of("oneway:t_min=3") == "oneway"


@pytest.mark.parametrize("word", ["a:b", "a:b=", "a:=3", "a:b=1,b=2", "a:b c=1"])
def test_half_an_option_is_refused(word):
    with pytest.raises(UserError, match="option=value"):
        parse(word)
