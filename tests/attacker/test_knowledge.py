"""Knowledge is granted by type, added to, and cut to some records."""

import numpy as np
import pytest
import torch

from sfumato.attacker.knowledge import (
    Activations,
    Candidates,
    Captions,
    Conditions,
    Contexts,
    Files,
    Latents,
    Mixed,
    Noise,
    People,
    Scenario,
)
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base


def latents(count=5, releases=2):
    return Latents(torch.zeros(releases, count, 4, 2, 2), torch.full((releases, count), 300))


def test_knowledge_is_found_by_its_type_alone():
    z = latents()
    scenario = Scenario(z)
    assert scenario[Latents] is z and scenario.get(Latents) is z
    assert scenario.get(Conditions) is None
    with pytest.raises(UserError, match="no Conditions in this scenario"):
        scenario[Conditions]


def test_a_base_is_found_as_a_base_whatever_its_class(base):
    heir = type("Heir", (type(base),), {})(**{field: getattr(base, field) for field in base.__dataclass_fields__})
    assert Scenario(heir)[Base] is heir
    assert Scenario(base)[Base] is base


def test_what_is_lacking_is_named_in_order():
    assert Scenario(latents()).lacks((Conditions, Latents, Files)) == (Conditions, Files)
    assert Scenario().lacks(()) == ()


def test_having_adds_and_takes_the_newer():
    first, second = latents(), latents(3)
    scenario = Scenario(first)
    more = scenario.having(second, Candidates(*torch.zeros(2, 2, 4, 2, 2)))
    assert more[Latents] is second and more.get(Candidates) is not None
    assert scenario[Latents] is first and scenario.get(Candidates) is None


def test_rows_cut_what_is_by_record_and_leave_the_rest():
    picture = torch.zeros(2, 5, 4, 2, 2)
    everything = Scenario(
        latents(), Conditions(picture, torch.zeros(2, 5)), Noise(picture), Mixed(picture, "identity"), Activations(picture),
        Contexts(torch.zeros(5, 3, 2)), Files(np.zeros((5, 4, 4, 3), np.uint8)), Captions(tuple("abcde")), People(torch.arange(5)),
        Candidates(*torch.zeros(2, 9, 4, 2, 2)),
    )  # fmt: skip
    cut = everything.rows(3)
    assert [cut[Latents].z.shape[1], cut[Latents].n.shape[1], cut[Conditions].c.shape[1], cut[Conditions].m.shape[1]] == [3] * 4
    assert [cut[Noise].eps.shape[1], cut[Mixed].h.shape[1], cut[Activations].a.shape[1]] == [3] * 3
    assert [len(cut[Contexts].context), len(cut[Files].images), len(cut[People].groups)] == [3] * 3
    assert cut[Mixed].activation == "identity" and cut[Captions].prompts == ("a", "b", "c")
    assert cut[Candidates] is everything[Candidates]
    assert everything[Latents].z.shape[1] == 5


def test_what_left_is_told_with_its_releases_and_what_anybody_knows_is_not():
    twice = Latents(torch.zeros(2, 5, 4, 2, 2), torch.zeros(2, 5, dtype=torch.int64))
    scenario = Scenario(twice, Captions(("a",)), Candidates(*torch.zeros(2, 2, 4, 2, 2)), People(torch.arange(5)))
    assert scenario.leaked() == {"Latents": 2, "Captions": 1}
    assert set(scenario.kinds()) == {Latents, Captions, Candidates, People}
