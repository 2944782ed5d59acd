"""A matrix as types: nothing of it is lost."""

import copy
import json
from pathlib import Path

import pytest

from sfumato.core.errors import UserError
from sfumato.core.typed_json import plain
from sfumato.judge import scores

MATRIX = json.loads((Path(__file__).parents[2] / "docs/matrix.json").read_text())["matrix"]


@pytest.mark.parametrize("scheme", sorted(MATRIX))
def test_a_matrix_is_read_and_written_without_a_loss(scheme):
    assert plain(scores.rows(MATRIX[scheme])) == MATRIX[scheme]


def test_a_row_says_where_it_got_most_and_what_its_variants_came_to():
    found = scores.rows(MATRIX["sealed"])
    scored = [row for row in found.values() if row.scored]
    assert scored and all(row.score is not None and row.targets and row.target in row.targets for row in scored)
    for row in scored:
        assert row.score == row.targets[row.target].score and row.low <= row.score <= row.high
        assert row.score in [pool.score for pool in row.pools.values()]
    rest = [row for row in found.values() if not row.scored]
    assert rest and all(row.score is None and row.why and not row.pools for row in rest)
    assert any(len(row.variants or {}) > 1 for row in found.values())


def test_a_table_of_another_form_is_refused():
    wrong = copy.deepcopy(MATRIX["sealed"])
    wrong["algebraic"]["score"] = "much"
    with pytest.raises(UserError, match=r"(?s)score"):
        scores.rows(wrong)
