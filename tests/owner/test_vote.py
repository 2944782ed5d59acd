"""A vote spends what was agreed, once; whatever is refused is refused before anything is spent."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from sfumato.accounting import gaussian, votes
from sfumato.core.errors import PrivacyError, RecordError, UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.owner import vote as voting
from sfumato.owner.ballot_ledger import NAME, BallotLedger
from sfumato.owner.folder import read_folder
from sfumato.owner.seal import seal
from sfumato.owner.vote import Plan
from sfumato.owner.withdraw import withdraw
from sfumato.records import ballot as ballots
from sfumato.records.record import SealSettings
from vote_support import menu_of, write_folder

FAR = {"a": [0, 1], "b": [0, 0, 0], "c": [2], "d": [0, 2, 2]}  # people, and the colours of their pictures
PLAN = Plan(epsilon=8.0, rounds=2)


@pytest.fixture
def folder(tmp_path):
    colours = [colour for person in FAR.values() for colour in person]
    return write_folder(tmp_path / "mine", colours, people=[name for name, person in FAR.items() for _ in person])


def cast(folder, menu, out, codec, *, owner="alice", plan=PLAN, **more):
    listed = read_folder(folder, size=codec.size, condition="canny")
    return voting.vote(listed, menu, out, owner=owner, codec=codec, plan=plan, **more)


def spent(home):
    """How many ballots the ledger counts."""
    path = home / "ledger" / NAME
    return len(path.read_text().splitlines()) if path.exists() else 0


def sealed(folder, out, codec, **settings):
    listed = read_folder(folder, size=codec.size, condition="canny")
    steps = {"condition": "canny", "seal_step": 900, "condition_step": None, "derived": True, **settings}
    return seal(listed, out, owner="alice", codec=codec, settings=SealSettings(**steps))


def test_the_ballot_is_the_peoples_scaled_votes_and_noise_of_the_size_that_it_claims(folder, base, home, tmp_path):
    draws, exact = [], sum(np.bincount(person, minlength=4) / np.linalg.norm(np.bincount(person)) for person in FAR.values())
    for seed in range(25):
        summary = cast(
            folder, menu_of(base, pool=f"{seed:032x}"), tmp_path / f"{seed}", base, noise=InsecureNoise(seed), allow_rerelease=True
        )
        draws.append(summary.ballot.votes - exact)
    assert summary.voters == 4 and summary.pictures == 9
    noise = votes.sigma(8.0, 1e-5, 2)
    assert np.std(draws) == pytest.approx(noise, rel=0.25) and abs(np.mean(draws)) < 4 * noise / 100**0.5


def test_what_leaves_is_small_signed_and_says_nothing_of_the_folder(folder, base, home, tmp_path):
    menu = menu_of(base)
    summary = cast(folder, menu, tmp_path / "b", base)
    assert (tmp_path / "b").stat().st_size < 1024 and ballots.read(tmp_path / "b") == summary.ballot
    assert set(json.loads((tmp_path / "b").read_text())) == {
        "kind", "schema", "owner", "public_key", "menu", "unit", "epsilon", "delta", "rounds", "secure", "counts", "signature",
    }  # fmt: skip
    assert summary.ballot.menu == menu.digest and summary.ballot.unit == "person" and summary.ballot.secure


def test_a_ballot_that_was_lost_is_written_again_and_never_drawn_again(folder, base, home, tmp_path):
    first = cast(folder, menu_of(base), tmp_path / "b", base)
    (tmp_path / "b").unlink()  # as after a kill between the ledger and the file
    again = cast(folder, menu_of(base), tmp_path / "other", base)
    assert again.again and again.ballot == first.ballot == ballots.read(tmp_path / "other") and spent(home) == 1


def test_a_second_ballot_for_a_round_is_refused(folder, base, home, tmp_path):
    cast(folder, menu_of(base), tmp_path / "b", base)
    before = (tmp_path / "b").read_bytes()
    other = write_folder(tmp_path / "other", [1, 1, 1], people="xyz", seed=7)
    for where, menu in ((other, menu_of(base)), (folder, menu_of(base, owners=9))):  # other pictures; another menu of the same round
        with pytest.raises(PrivacyError, match="second ballot"):
            cast(where, menu, tmp_path / "c", base)
    assert spent(home) == 1 and not (tmp_path / "c").exists() and (tmp_path / "b").read_bytes() == before


def test_it_stops_at_the_agreed_total(folder, base, home, tmp_path):
    for number in (1, 2):
        cast(folder, menu_of(base, round=number), tmp_path / f"{number}", base)
    with pytest.raises(PrivacyError, match="all 2 agreed ballots"):
        cast(folder, menu_of(base, round=3), tmp_path / "3", base)
    assert spent(home) == 2 and not (tmp_path / "3").exists()
    total = gaussian.compose([ballots.read(tmp_path / f"{number}").mu for number in (1, 2)])
    assert gaussian.epsilon(1e-5, total) == pytest.approx(8.0)


@pytest.mark.parametrize("other", [Plan(epsilon=9.0, rounds=2), Plan(epsilon=8.0, rounds=3)])
def test_a_pool_is_not_agreed_twice(folder, base, home, tmp_path, other):
    cast(folder, menu_of(base), tmp_path / "1", base)
    with pytest.raises(PrivacyError, match="agreed otherwise"):
        cast(folder, menu_of(base, round=2), tmp_path / "2", base, plan=other)
    assert spent(home) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_another_name_does_not_vote_with_the_same_people(folder, base, home, tmp_path, number):
    cast(folder, menu_of(base), tmp_path / "b", base)
    same_person = write_folder(tmp_path / "more", [0, 0, 1], people="ayz", seed=3)  # other pictures of "a"
    for where in (folder, same_person):
        with pytest.raises(PrivacyError, match="as 'alice'"):
            cast(where, menu_of(base, round=number), tmp_path / "c", base, owner="bob")
    cast(write_folder(tmp_path / "x", [0, 1, 1], people="xyz", seed=5), menu_of(base), tmp_path / "c", base, owner="bob")
    assert spent(home) == 2


def test_another_pool_composes_and_only_where_that_is_said(folder, base, home, tmp_path):
    first = cast(folder, menu_of(base), tmp_path / "1", base)
    with pytest.raises(PrivacyError, match="another pool"):
        cast(folder, menu_of(base, pool="b" * 32), tmp_path / "2", base)
    assert spent(home) == 1
    second = cast(folder, menu_of(base, pool="b" * 32), tmp_path / "2", base, allow_rerelease=True)
    mu = gaussian.compose([second.ballot.mu] * 2 + [first.ballot.mu])  # two rounds here, and the one there
    assert any(f"epsilon {gaussian.epsilon(1e-5, mu):.4g}" in line and "with sealed records" in line for line in second.card)


def test_sealed_records_with_a_bound_compose_with_the_ballots_of_a_person(folder, base, home, tmp_path):
    settings = sealed(folder, tmp_path / "r", base, clip=2.0).manifest.settings
    one = float(base.schedule.alpha(900) / base.schedule.sigma(900)) * settings.clip  # zero-out: the picture is not there
    summary = cast(folder, menu_of(base), tmp_path / "b", base)
    mu = gaussian.compose([summary.ballot.mu] * 2 + [one] * 3)  # of who has most pictures
    assert any(f"epsilon {gaussian.epsilon(1e-5, mu):.4g}" in line for line in summary.card)


def test_sealed_records_without_a_bound_leave_no_guarantee_but_that_of_the_ballots(folder, base, home, tmp_path):
    sealed(folder, tmp_path / "r", base)
    card = cast(folder, menu_of(base), tmp_path / "b", base).card
    assert any("epsilon 8 " in line for line in card) and any("none (records of these pictures" in line for line in card)
    withdraw(tmp_path / "r")
    card = cast(folder, menu_of(base, round=2), tmp_path / "c", base).card
    assert not any("none" in line for line in card)


def test_a_seal_after_votes_counts_them(folder, base, home, tmp_path):
    ballot = cast(folder, menu_of(base), tmp_path / "b", base).ballot
    alone = sealed(write_folder(tmp_path / "new", [0, 1], seed=9), tmp_path / "r0", base, clip=2.0).manifest.privacy
    voted = sealed(folder, tmp_path / "r", base, clip=2.0).manifest.privacy
    assert voted["others"] == {"count": 1, "mu": pytest.approx(2 * ballot.mu)}
    assert voted["mu"] == pytest.approx(math.hypot(alone["mu"], 2 * ballot.mu))


def test_noise_from_a_seed_is_said_and_bounds_nothing_after_it(folder, base, home, tmp_path):
    first = cast(folder, menu_of(base), tmp_path / "b", base, noise=InsecureNoise(0))
    assert not first.ballot.secure and any("guarantee: none" in line for line in first.card)
    later = cast(folder, menu_of(base, pool="b" * 32), tmp_path / "c", base, allow_rerelease=True)
    assert any("none (an earlier ballot had noise from a seed)" in line for line in later.card)
    assert sealed(folder, tmp_path / "r", base, clip=2.0).manifest.privacy["guarantee"] == "none"


def test_without_persons_the_unit_is_a_picture_and_that_is_said(base, home, tmp_path):
    summary = cast(write_folder(tmp_path / "f", [0, 0, 1, 1]), menu_of(base), tmp_path / "b", base)
    assert summary.ballot.unit == "picture" and summary.voters == 4
    assert any("NOT A PERSON" in line for line in summary.card) and any("no `person` column" in line for line in summary.notes)


def test_persons_for_some_pictures_only_are_refused(base, home, tmp_path):
    with pytest.raises(UserError, match="2 of 3 pictures"):
        cast(write_folder(tmp_path / "f", [0, 0, 1], people=["a", "b", ""]), menu_of(base), tmp_path / "b", base)
    assert spent(home) == 0 and not (tmp_path / "b").exists()


@pytest.mark.parametrize("people", [None, ["a"], ["a", "a", "a"]])
def test_one_voter_alone_is_refused(base, home, tmp_path, people):
    where = write_folder(tmp_path / "f", [0, 1, 2][: len(people or "x")], people=people)
    with pytest.raises(UserError, match="1 (person|picture) to vote"):
        cast(where, menu_of(base), tmp_path / "b", base)
    assert spent(home) == 0 and not (tmp_path / "b").exists()


def test_the_same_picture_twice_votes_once(base, home, tmp_path):
    folder = write_folder(tmp_path / "f", [0, 1, 2, 2])
    (folder / "3.png").write_bytes((folder / "2.png").read_bytes())
    assert cast(folder, menu_of(base), tmp_path / "b", base).voters == 3


def test_a_file_that_is_no_picture_is_left_out_and_said(base, home, tmp_path):
    folder = write_folder(tmp_path / "f", [0, 1, 2, 2])
    (folder / "3.png").write_bytes(b"no picture")
    summary = cast(folder, menu_of(base), tmp_path / "b", base)
    assert summary.voters == 3 and len(summary.skipped) == 1 and "3.png" in summary.skipped[0]


def test_more_noise_than_votes_is_refused_with_the_epsilon_that_would_do(folder, base, home, tmp_path):
    with pytest.raises(UserError, match="no cluster could stand out") as refused:
        cast(folder, menu_of(base), tmp_path / "b", base, plan=Plan(epsilon=1.0, rounds=2))
    assert spent(home) == 0 and not (tmp_path / "b").exists()
    would = float(refused.value.fix.split("--epsilon ")[1].split(",")[0])
    cast(folder, menu_of(base), tmp_path / "b", base, plan=Plan(epsilon=would, rounds=2))
    assert would < 30 and spent(home) == 1


def test_more_clusters_than_votes_can_carry_is_said_with_the_epsilon_that_would_do(folder, base, home, tmp_path):
    (said,) = (line for line in cast(folder, menu_of(base), tmp_path / "b", base).notes if "at most" in line)
    assert "of 4 clusters" in said
    would = float(said.split("--epsilon ")[1].split(",")[0])
    other = write_folder(tmp_path / "g", [0, 1, 2, 3], people="wxyz", seed=4)
    assert not any(
        "at most" in n for n in cast(other, menu_of(base), tmp_path / "c", base, owner="bob", plan=Plan(epsilon=would, rounds=2)).notes
    )


def test_all_votes_in_one_cluster_are_said(base, home, tmp_path):
    summary = cast(write_folder(tmp_path / "f", [2] * 5), menu_of(base), tmp_path / "b", base)
    assert any("one cluster" in line for line in summary.notes) and spent(home) == 1


@pytest.mark.parametrize("wrong", [{"base": "0" * 64}, {"network_fingerprint": "0" * 64}])
def test_a_menu_of_another_base_or_network_spends_nothing(folder, base, home, tmp_path, wrong):
    with pytest.raises(RecordError, match="another"):
        cast(folder, menu_of(base, **wrong), tmp_path / "b", base)
    assert spent(home) == 0 and not (tmp_path / "b").exists()


def test_a_file_in_the_way_is_kept_and_spends_nothing(folder, base, home, tmp_path):
    (tmp_path / "b").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        cast(folder, menu_of(base), tmp_path / "b", base)
    assert spent(home) == 0 and (tmp_path / "b").read_text() == "mine"


def test_a_ballot_that_cannot_be_written_down_was_not_cast(folder, base, home, tmp_path, monkeypatch):
    def full(*_, **__):
        raise UserError("no space")

    monkeypatch.setattr(BallotLedger, "append", full)
    with pytest.raises(UserError, match="no space"):
        cast(folder, menu_of(base), tmp_path / "b", base)
    assert not (tmp_path / "b").exists()


def test_the_ledger_tells_nothing_to_whoever_lacks_its_key(folder, base, home, tmp_path):
    cast(folder, menu_of(base), tmp_path / "b", base)
    line = json.loads((home / "ledger" / NAME).read_text())
    assert all(len(name) == 64 for name in (*line["pictures"], *line["files"], *line["people"])) and "mine" not in json.dumps(line)
    assert BallotLedger(home / "ledger", b"k" * 32).person("a") not in line["people"]


@pytest.mark.parametrize("wrong", [{"round": 0}, {"mu": 0}, {"pictures": []}, {"people": [3]}, {"epsilon": "1"}, {"pool": ""}, {"more": 1}])
def test_a_damaged_ledger_stops_everything(folder, base, home, tmp_path, wrong):
    cast(folder, menu_of(base), tmp_path / "b", base)
    path = home / "ledger" / NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}) + "\n")
    with pytest.raises(UserError, match="line 1 is damaged"):
        cast(folder, menu_of(base, round=2), tmp_path / "c", base)


def test_a_person_more_moves_the_exact_counts_by_one_at_most(base, home, tmp_path, monkeypatch):
    """The measured sensitivity of the whole path, in the clear."""
    seen = []
    monkeypatch.setattr(votes, "noised", lambda sums, sigma, noise: seen.append(sums) or [0] * len(sums))
    for count in (2, 3, 4):
        people = list(FAR.items())[:count]
        where = write_folder(tmp_path / f"{count}", [c for _, p in people for c in p], people=[n for n, p in people for _ in p])
        cast(where, menu_of(base, pool=f"{count:032x}"), tmp_path / f"b{count}", base, allow_rerelease=True)
    for fewer, more in pairwise(seen):
        assert 0.99 < np.linalg.norm(np.subtract(more, fewer)) / 2**votes.ONE_BITS <= 1
