"""Members are told from others: exact where the truth is known, chance where there is nothing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lora_people_support import SMALL
from sfumato.studies.lora import membership

pytestmark = pytest.mark.usefixtures("few")


def test_members_are_told_apart_where_their_scores_are():
    draws = np.random.default_rng(0)
    clear = membership._told_apart([(1 + draws.random(5), draws.random(5)) for _ in range(40)])
    assert clear["auc"] == 1 and clear["true positives at 1% false"] == 1 and clear["victims"] == 40 and clear["members"] == 200
    blind = membership._told_apart([(draws.random(5), draws.random(5)) for _ in range(40)])
    assert blind["auc_low"] < 0.5 < blind["auc_high"] and blind["true positives at 1% false"] < 0.1


def test_auc_is_that_of_scikit_learn_ties_and_all():
    draws = np.random.default_rng(1)
    for highest in (3, 1000):
        inside, outside = draws.integers(1, highest, 7), draws.integers(0, highest, 11)
        assert membership._auc(inside, outside) == pytest.approx(roc_auc_score([1] * 7 + [0] * 11, [*inside, *outside]), abs=1e-12)


def test_every_variant_is_asked_of_every_victim_and_lira_where_it_has_shadows(tiny, victims, monkeypatch):
    monkeypatch.setattr(membership, "SHADOWS", 4)
    monkeypatch.setitem(membership.attacks.attack("membership").DRAWS, "quick", 1)
    found = membership.measure(tiny, victims[:2], SMALL, shadowed=1)
    assert set(found) == set(membership.attacks.attack("membership").VARIANTS)
    assert found["loss"]["strangers"]["victims"] == 2 and found["lira"]["the same person"]["victims"] == 1
    assert all(0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1 for kinds in found.values() for row in kinds.values())
