"""Public people by the engine, private ones by PEFT: kept, resumed, and drawn so that the recipe is not exactly the victim's."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from sfumato.adapters import dreambooth, formats
from sfumato.attacker.weights.prior_sampling import TOKENS
from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.features.identity import half
from sfumato.studies.lora import people
from sfumato.studies.lora.people import PeopleConfig
from tests_support import few_steps

SMALL = PeopleConfig(public=3, victims=2, each=2, rank=4, steps=4, batch=2, keep=2, together=2)


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(autouse=True, scope="module")
def few_of_the_class():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "CLASS_PICTURES", 2)
        few_steps(patch, dreambooth)
        yield


@pytest.fixture(scope="module")
def trained(tiny, few_of_the_class, tmp_path_factory):
    """A folder, and the victims that were trained into it."""
    folder = tmp_path_factory.mktemp("victims")
    return folder, people.train_victims(tiny, SMALL, folder)


def test_kept_steps_are_spread_evenly_up_to_the_longest_victim():
    config = PeopleConfig()
    assert len(config.kept) == 16 and config.kept[-1] == config.public_steps == round(config.steps * config.steps_range[1])
    gaps = [later - sooner for sooner, later in pairwise((0, *config.kept))]
    assert max(gaps) - min(gaps) <= 1
    with pytest.raises(UserError, match="public 0"):
        PeopleConfig(public=0)


def test_public_adapters_are_kept_with_their_steps_and_not_trained_twice(tiny, tmp_path, monkeypatch):
    store, latents, drawn = people.train_public(tiny, SMALL, tmp_path)
    assert store.names() == ["person-0000", "person-0001", "person-0002"] == list(latents)
    assert all(half(key) == 1 for key in drawn.identities)
    assert store.get("person-0001").steps == SMALL.kept == (3, 6) and latents["person-0001"].shape == (2, 4, 16, 16)
    before, stamp = store.get("person-0001"), (tmp_path / "person-0000.safetensors").stat().st_mtime_ns
    (tmp_path / "person-0001.json").unlink()  # killed between the two files
    people.train_public(tiny, SMALL, tmp_path)
    again = store.get("person-0001")  # alone now, and before beside another: the same but for rounding
    assert all(torch.allclose(b, again.factors[name][1], atol=1e-4) for name, (_, b) in before.factors.items())
    assert (tmp_path / "person-0000.safetensors").stat().st_mtime_ns == stamp


def test_several_processes_share_the_people(tiny, tmp_path):
    for rank in (0, 1):
        people.train_public(tiny, SMALL, tmp_path, rank=rank, world=2)
        assert len(people.Store(tmp_path).names()) == (2, 3)[rank]


def test_victims_differ_from_the_recipe_and_from_each_other(tiny, trained):
    folder, victims = trained
    assert [v.name for v in victims] == ["recombined-000", "recombined-001", "unseen_part-000", "unseen_part-001"]
    assert len({v.facts["lr"] for v in victims}) == 4 and all(0.7 * 3e-3 <= v.facts["lr"] <= 1.4 * 3e-3 for v in victims)
    assert all(len(set(v.pictures.identities)) == 1 and len(v.pictures) == 4 for v in victims)
    assert not {v.pictures.identities[0] for v in victims} & set(people.public_people(SMALL).identities)
    first = formats.read(victims[0].file)
    assert set(first.ranks.values()) == {4} and any(bool(b.any()) for _, b in first.factors.values())
    stamp = victims[0].file.stat().st_mtime_ns
    people.train_victims(tiny, SMALL, folder)
    assert victims[0].file.stat().st_mtime_ns == stamp


def test_odd_victims_have_another_rank_and_other_targets(tiny, tmp_path):
    odd = PeopleConfig(public=3, victims=1, each=2, rank=4, steps=2, batch=2, keep=2, odd_rank=2, odd_targets=("to_k", "to_out.0"))
    victim = people.train_victims(tiny, odd, tmp_path, odd=True)[0]
    found = formats.read(victim.file)
    assert victim.name == "odd-recombined-000" and set(found.ranks.values()) == {2}
    assert {name.rpartition(".")[2] for name in found.factors if name.startswith("unet.")} == {"to_k", "0"}


def test_without_prior_preservation_it_is_another_victim(tiny, trained, monkeypatch):
    folder, (usual, *_) = trained
    monkeypatch.setattr(people, "class_of", lambda *a: pytest.fail("no picture of the class is wanted"))
    other = people.train_victims(tiny, dataclasses.replace(SMALL, prior_batch=0), folder)[0]
    assert other.name == "no-prior-recombined-000" and other.file != usual.file and usual.file.exists()
    assert (other.pictures.images == usual.pictures.images).all() and other.facts["prior_batch"] == 0
    one, two = (formats.read(victim.file).factors for victim in (usual, other))
    assert any(not torch.equal(b, two[name][1]) for name, (_, b) in one.items())


def test_every_owner_has_a_word_of_its_own(trained):
    prompts = [victim.facts["prompt"] for victim in trained[1]]
    assert len(set(prompts)) == len(prompts) and all(p.startswith("a photo of ") and p.endswith(" peep") for p in prompts)
    assert not any(word in prompt.split() for prompt in prompts for word in TOKENS)
