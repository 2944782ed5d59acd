"""Who judges pictures that came of a shared LoRA: line-ups, copies, attributes."""

import pytest
import torch

from sfumato.adapters import dreambooth
from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.judge.metrics.identity import Gallery
from sfumato.studies.lora import files as lora_files
from sfumato.studies.lora import judge as judging
from sfumato.studies.lora import people
from sfumato.studies.lora.people import PeopleConfig
from tests_support import few_steps

CONFIG = PeopleConfig(public=4, victims=2, each=2, rank=4, steps=1, batch=2)


@pytest.fixture(autouse=True, scope="module")
def small():
    of, load = Gallery.of, judging.store.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "MINIMUM", 6)
        patch.setattr(judging.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
        patch.setattr(judging.store, "load", lambda style, pool, count, **how: load(style, pool, 120, **how))
        patch.setattr(people, "CLASS_PICTURES", 2)
        few_steps(patch, dreambooth, steps=2)
        yield


@pytest.fixture(scope="module")
def victims(small, tmp_path_factory):
    return people.train_victims(load_base(), CONFIG, tmp_path_factory.mktemp("victims"))


@pytest.fixture(scope="module")
def judge(victims):
    return judging.Judge(victims, 2, 0)


def test_a_copy_of_a_private_picture_is_seen_as_one(judge, victims):
    victim = victims[0]
    copied, other = judge(victim.pictures.images[:1], victim), judge(victims[1].pictures.images[:1], victim)
    assert copied["nearest private"] == pytest.approx(0, abs=1e-6) and copied["nearest other"] > 1e-3
    assert copied["identity"] > other["identity"] and copied["hit"] and not other["hit"]
    assert copied["rank"] == 1 < other["rank"]
    assert lora_files._near(victim.pictures.images[:1], victim.pictures.images)["nearest private picture"] == pytest.approx(0, abs=1e-6)


def test_line_ups_hold_people_of_the_victims_own_pool(judge, victims):
    assert {pool: len(gallery.identities) for pool, gallery in judge.galleries.items()} == {"recombined": 6, "unseen_part": 6}
    people = {pool: set(gallery.identities) for pool, gallery in judge.galleries.items()}
    assert not people["recombined"] & people["unseen_part"] and judge.chance == 1 / 6
    for victim in victims:
        assert victim.pictures.identities[0] in people[victim.pool]


def test_a_line_up_to_be_ranked_is_shuffled_and_the_judge_keeps_whose_is_whose(judge, victims):
    for pool, shown in judge.line_ups.items():
        mine = [victim for victim in victims if victim.pool == pool]
        assert shown.images.shape[:2] == (6, 2) and set(shown.people) == set(judge.galleries[pool].identities)
        for victim in mine:
            other = shown.images[shown.people.index(victim.pictures.identities[0])]
            assert (other == victim.pictures.images[2:4]).all()
            private = {image.tobytes() for image in victim.pictures.images[:2]}
            assert not private & {image.tobytes() for person in shown.images for image in person}
        assert shown.people[: len(mine)] != tuple(victim.pictures.identities[0] for victim in mine)  # not the victims first


def test_a_score_names_the_right_person_only_where_nobody_scores_as_much(judge, victims):
    victim = victims[0]
    own = judge.line_ups[victim.pool].people.index(victim.pictures.identities[0])
    scores = torch.zeros(6)
    assert judge.named(scores, victim) == {"hit": False, "rank": 6}  # an attack that says nothing
    scores[own] = 1.0
    assert judge.named(scores, victim) == {"hit": True, "rank": 1}
    scores[(own + 1) % 6] = 2.0
    assert judge.named(scores, victim) == {"hit": False, "rank": 2}
    with pytest.raises(UserError, match="one for each of 6"):
        judge.named(torch.zeros(5), victim)


def test_the_pictures_that_were_trained_on_are_in_no_line_up(victims):
    private = {image.tobytes() for victim in victims for image in victim.pictures.images[:2]}
    shown = []
    of = judging.Gallery.of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging.Gallery, "of", lambda images, names: shown.extend(images) or of(images, names))
        judging.Judge(victims, 2, 0)
    assert shown and not private & {image.tobytes() for image in shown}
