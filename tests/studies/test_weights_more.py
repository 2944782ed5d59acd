"""Members, sizes and merges: exact where the truth is known, chance where there is nothing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sfumato.adapters import dreambooth
from sfumato.diffusion.base import load_base
from sfumato.studies import lora_people, weights_more
from sfumato.studies.lora_people import PeopleConfig
from tests_support import few_steps

SMALL = PeopleConfig(public=4, victims=2, each=2, rank=2, steps=2, batch=2, keep=2, together=4)


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few pictures of the class, in few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora_people, "CLASS_PICTURES", 2)
        few_steps(patch, dreambooth)
        yield


@pytest.fixture(scope="module")
def victims(tiny, tmp_path_factory):
    return lora_people.train_victims(tiny, SMALL, tmp_path_factory.mktemp("victims"))


def test_members_are_told_apart_where_their_scores_are():
    draws = np.random.default_rng(0)
    clear = weights_more._told_apart([(1 + draws.random(5), draws.random(5)) for _ in range(40)])
    assert clear["auc"] == 1 and clear["true positives at 1% false"] == 1 and clear["victims"] == 40 and clear["members"] == 200
    blind = weights_more._told_apart([(draws.random(5), draws.random(5)) for _ in range(40)])
    assert blind["auc_low"] < 0.5 < blind["auc_high"] and blind["true positives at 1% false"] < 0.1


def test_auc_is_that_of_scikit_learn_ties_and_all():
    draws = np.random.default_rng(1)
    for highest in (3, 1000):
        inside, outside = draws.integers(1, highest, 7), draws.integers(0, highest, 11)
        assert weights_more._auc(inside, outside) == pytest.approx(roc_auc_score([1] * 7 + [0] * 11, [*inside, *outside]), abs=1e-12)


def test_every_variant_is_asked_of_every_victim_and_lira_where_it_has_shadows(tiny, victims, monkeypatch):
    monkeypatch.setattr(weights_more, "SHADOWS", 4)
    monkeypatch.setitem(weights_more.attacks.attack("membership").DRAWS, "quick", 1)
    found = weights_more.membership(tiny, victims[:2], SMALL, shadowed=1)
    assert set(found) == set(weights_more.attacks.attack("membership").VARIANTS)
    assert found["loss"]["strangers"]["victims"] == 2 and found["lira"]["the same person"]["victims"] == 1
    assert all(0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1 for kinds in found.values() for row in kinds.values())


def test_sizes_are_asked_of_people_that_were_not_learned_from(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_more, "SIZES", (1, 2))
    found = weights_more.dataset_size(tiny, SMALL, tmp_path, known=2, asked=1)
    assert found["n"] == 2 and found["chance"] == 0.5 and 0 <= found["right"] <= 1
    assert len(list(tmp_path.glob("*.json"))) == 6


def test_merges_give_the_base_back(tiny, victims):
    found = weights_more.merging(tiny, victims, SMALL)
    errors = found["error, relative to one adapter"]
    assert errors["recovered"] < 0.1 * errors["mean of the merges"] and found["merges"] == 4
