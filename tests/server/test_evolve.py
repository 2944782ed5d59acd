"""The pool moves towards what wins, is the same after a kill, and counts only ballots that can be believed."""

import json

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.accounting import votes
from sfumato.conditions import canny
from sfumato.core.errors import RecordError, UserError
from sfumato.records import ballot as ballots
from sfumato.records.ballot import Ballot
from sfumato.records.manifest import public_hex
from sfumato.server import evolve
from sfumato.server import pool as pools
from sfumato.server.pool import Settings

FEW = Settings(count=40, clusters=4, network="pixels", steps=1)
KEYS = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob", "carol")}


@pytest.fixture(scope="module")
def started(base, tmp_path_factory):
    """A pool with its first menu."""
    return evolve.start(tmp_path_factory.mktemp("evolve") / "pool", base, FEW)


@pytest.fixture
def pool(started, base, tmp_path):
    """A copy of it that a test may go on with."""
    import shutil

    shutil.copytree(started.folder, tmp_path / "pool")
    return pools.read(tmp_path / "pool", base)


def ballot(path, menu, counts, *, owner="alice", **changes):
    """A signed ballot with these (exact) counts; epsilon 8 and one round, so that 5 votes stand out."""
    fields = {
        "owner": owner, "public_key": public_hex(KEYS[owner]), "menu": getattr(menu, "digest", menu),
        "unit": "person", "epsilon": 8.0, "delta": 1e-5,
        "rounds": 1, "secure": True, "counts": tuple(int(one * 2**votes.GRID_BITS) for one in counts),
    }  # fmt: skip
    path.write_bytes(ballots.pack(Ballot(**{**fields, **changes}), KEYS[owner]))
    return path


def test_a_menu_has_its_pool_its_clusters_and_pictures_of_them(started, base):
    menu = started.menu(1)
    assert started.round == 1 and len(menu) == 4 and menu.about.pool == started.id and menu.about.base == base.fingerprint
    z_0, embedded = started.pictures(1)
    assert z_0.shape == (40, 4, 8, 8) and set(menu.nearest(embedded)) == {0, 1, 2, 3}
    assert menu.thumbnails.std() > 0 and started.tally(1) is None


def test_the_same_pool_whatever_killed_it(started, base, tmp_path, monkeypatch):
    calls = []
    real = evolve.sample

    def killed(*given, **how):
        calls.append(len(given[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **how)

    monkeypatch.setattr(evolve, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        evolve.start(tmp_path / "again", base, FEW)
    again = evolve.start(tmp_path / "again", base, FEW)
    assert calls == [32, 8, 8] and torch.equal(again.pictures(1)[0], started.pictures(1)[0])
    assert np.array_equal(again.menu(1).centroids, started.menu(1).centroids)
    evolve.start(tmp_path / "again", base, FEW)
    assert len(calls) == 3  # nothing is drawn again


def test_the_next_pictures_are_drawn_around_what_won_by_as_much_as_it_won(pool, base, home, tmp_path, monkeypatch):
    monkeypatch.setattr(evolve, "VARIATION", (0,))  # so little noise that every child is its parent
    menu = pool.menu(1)
    outcome = evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", menu, (30, -3, 0.5, 10))])
    assert outcome.winners == (0, 3) and outcome.owners == outcome.new_owners == ("alice",) and outcome.pool.round == 2
    _, embedded = pool.pictures(2)
    assert np.bincount(menu.nearest(embedded), minlength=4).tolist() == [30, 0, 0, 10]
    assert pool.menu(2).about.round == 2 and pool.menu(2).digest != menu.digest


def test_ballots_add_up_and_so_does_their_noise(pool, base, home, tmp_path):
    menu = pool.menu(1)
    files = [ballot(tmp_path / owner, menu, (0.75, 0, -1, 0.25), owner=owner) for owner in ("alice", "bob", "carol")]
    with pytest.raises(UserError, match="no cluster"):
        evolve.next_round(pool.folder, base, files[:2])  # 1.5 votes do not stand out ...
    outcome = evolve.next_round(pool.folder, base, files)  # ... but 2.25 of three do
    noise = votes.sigma(8.0, 1e-5, 1)
    assert outcome.counts.tolist() == [2.25, 0, -3, 0.75] and outcome.noise == pytest.approx(noise * 3**0.5)
    assert outcome.threshold == pytest.approx(2 * noise * 3**0.5) and outcome.winners == (0,)


def test_where_nothing_stands_out_the_pool_stays_and_says_what_would_do(pool, base, home, tmp_path):
    menu = pool.menu(1)
    with pytest.raises(UserError, match="stands? out") as refused:
        evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", menu, (1.1, 1.0, 0.9, 1.0))])
    assert "--epsilon" in refused.value.fix or "do not stand out" in refused.value.fix
    assert pool.round == 1 and pool.tally(2) is None and not (home / "known_owners.json").exists()
    with pytest.raises(UserError) as refused:
        evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", menu, (0.1, 0, -0.1, 0))])
    assert "do not stand out of their noise" in refused.value.fix
    outcome = evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", menu, (1.1, 1.0, 0.9, 1.0))], threshold=0.5)
    assert outcome.winners and outcome.pool.round == 2


def test_the_epsilon_that_is_named_would_have_carried_the_votes(pool, base, home, tmp_path):
    menu = pool.menu(1)
    shared = (2.2, 2.1, 2.0, 2.2)
    with pytest.raises(UserError) as refused:
        evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", menu, shared, epsilon=3.0)])
    named = float(refused.value.fix.split("--epsilon ")[1].split(" ")[0])
    outcome = evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", menu, shared, epsilon=1.2 * named)])
    assert len(outcome.winners) == 4 and named > 3


def test_one_winner_is_said(pool, base, home, tmp_path):
    outcome = evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", pool.menu(1), (0, 20, 0, 0))])
    assert outcome.winners == (1,) and any("one of 4 clusters" in note for note in outcome.notes)


def test_units_and_seeds_are_said(pool, base, home, tmp_path):
    menu = pool.menu(1)
    files = [
        ballot(tmp_path / "a", menu, (20, 20, 0, 0), secure=False),
        ballot(tmp_path / "b", menu, (20, 20, 0, 0), owner="bob", unit="picture"),
    ]
    notes = " ".join(evolve.next_round(pool.folder, base, files).notes)
    assert "came from a seed" in notes and "by person and some by picture" in notes


@pytest.mark.parametrize("why", ["another menu", "3 counts"])
def test_a_ballot_that_does_not_fit_changes_nothing(pool, base, home, tmp_path, why):
    menu = pool.menu(1)
    good = ballot(tmp_path / "a", menu, (20, 0, 0, 0))
    bad = ballot(tmp_path / "b", *(("0" * 64, (20, 0, 0, 0)) if why == "another menu" else (menu, (20, 0, 0))), owner="bob")
    with pytest.raises(RecordError, match=why):
        evolve.next_round(pool.folder, base, [good, bad])
    assert pool.round == 1 and not pool.place(2).exists() and not (home / "known_owners.json").exists()


def test_an_altered_or_forged_ballot_is_refused(pool, base, home, tmp_path):
    good = ballot(tmp_path / "a", pool.menu(1), (20, 0, 0, 0))
    body = json.loads(good.read_text())
    (tmp_path / "b").write_text(json.dumps({**body, "counts": body["counts"][::-1]}))
    with pytest.raises(RecordError, match="signature does not fit"):
        evolve.next_round(pool.folder, base, [tmp_path / "b"])
    evolve.next_round(pool.folder, base, [good])
    forged = ballot(tmp_path / "c", pool.menu(2), (20, 0, 0, 0), owner="bob")
    data = ballots.pack(Ballot(**{**_fields(ballots.read(forged)), "owner": "alice"}), KEYS["bob"])  # bob signs as alice, who is known
    forged.write_bytes(data)
    with pytest.raises(RecordError, match="alice.*known is"):
        evolve.next_round(pool.folder, base, [forged])
    assert pool.round == 2


def _fields(found):
    return {name: getattr(found, name) for name in Ballot.__dataclass_fields__}


def test_nobody_votes_twice(pool, base, home, tmp_path):
    menu = pool.menu(1)
    first, second = (ballot(tmp_path / name, menu, (20, 0, 0, 0)) for name in "ab")
    renamed = tmp_path / "c"
    renamed.write_bytes(ballots.pack(Ballot(**{**_fields(ballots.read(first)), "owner": "alicia"}), KEYS["alice"]))
    for files in ([first, second], [first, first], [first, renamed]):
        with pytest.raises(RecordError, match="second ballot"):
            evolve.next_round(pool.folder, base, files)
    with pytest.raises(UserError, match="no ballots"):
        evolve.next_round(pool.folder, base, [])
    assert pool.round == 1
    evolve.next_round(pool.folder, base, [first])
    with pytest.raises(RecordError, match="round 1, which was counted"):
        evolve.next_round(pool.folder, base, [first])


def test_a_killed_round_goes_on_with_the_same_ballots_only(pool, base, home, tmp_path, monkeypatch):
    menu, calls, real = pool.menu(1), [], evolve.sample

    def killed(*given, **how):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **how)

    first, other = ballot(tmp_path / "a", menu, (20, 0, 0, 0)), ballot(tmp_path / "b", menu, (0, 20, 0, 0))
    monkeypatch.setattr(evolve, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        evolve.next_round(pool.folder, base, [first])
    with pytest.raises(UserError, match="other ballots were counted"):
        evolve.next_round(pool.folder, base, [other])
    assert evolve.next_round(pool.folder, base, [first]).pool.round == 2 and len(calls) == 3


def test_a_vote_that_is_counted_can_be_trained_from(pool, base, home, tmp_path):
    with pytest.raises(UserError, match="no ballots were counted"):
        evolve.pairs(pool, base)
    evolve.next_round(pool.folder, base, [ballot(tmp_path / "a", pool.menu(1), (20, 0, 0, 0))])
    made = evolve.pairs(pool, base)
    edges = np.stack([canny.extract(image) for image in base.decode_pixels(made.z_n)])
    assert len(made) == 40 and torch.allclose(made.c_m, base.encode_pixels(edges), atol=1e-5) and made.n.tolist() == [-1] * 40
    assert pool.id in made.digest() and torch.equal(made.z_n, pool.pictures(2)[0])


def test_public_prompts_are_drawn_under_in_turn(base, tmp_path, monkeypatch):
    asked, real = [], evolve.sample
    monkeypatch.setattr(evolve, "sample", lambda base, prompts, **how: asked.append(prompts) or real(base, prompts, **how))
    evolve.start(tmp_path / "p", base, Settings(count=8, clusters=2, network="latent", steps=1, prompts=("a", "b")))
    assert asked == [["", "a", "b", "", "a", "b", "", "a"]]


@pytest.mark.parametrize(
    "wrong", [{"clusters": 1}, {"clusters": 1001, "count": 5000}, {"count": 7, "clusters": 4}, {"owners": 0}, {"steps": 0}]
)
def test_numbers_that_make_no_menu_are_refused(wrong):
    with pytest.raises(UserError):
        Settings(**wrong)


def test_what_cannot_be_started_leaves_nothing(base, tmp_path):
    for wrong in ({"condition": "given"}, {"network": "nobody"}, {"condition": "nothing"}):
        with pytest.raises(UserError):
            evolve.start(tmp_path / "p", base, Settings(**wrong))
        assert not (tmp_path / "p").exists()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine").write_text("x")
    with pytest.raises(UserError, match="there already"):
        evolve.start(tmp_path / "p", base, FEW)


def test_a_pool_is_gone_on_with_as_it_was_begun_or_not_at_all(pool, base, tmp_path):
    with pytest.raises(UserError, match="other settings"):
        evolve.start(pool.folder, base, Settings(count=48, clusters=4, network="pixels", steps=1))
    state = json.loads((pool.folder / pools.STATE).read_text())
    for changes, why in (
        ({"schema": 2}, "schema"),
        ({"base": "0" * 64}, "another base"),
        ({"unet": "0" * 64}, "another base"),
        ({"settings": 3}, "damaged"),
    ):
        (pool.folder / pools.STATE).write_text(json.dumps({**state, **changes}))
        with pytest.raises(RecordError, match=why):
            pools.read(pool.folder, base)


def test_a_damaged_part_is_drawn_again_or_named(pool, base):
    path = pool.place(1) / "part-00001.safetensors"
    before = pool.pictures(1)[0]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="part-00001"):
        pool.pictures(1)
    (pool.place(1) / pools.MENU).unlink()
    assert torch.equal(evolve.start(pool.folder, base, FEW).pictures(1)[0], before)


def test_pictures_that_are_all_the_same_make_no_menu(base, tmp_path, monkeypatch):
    monkeypatch.setattr(evolve, "sample", lambda base, prompts, **how: torch.zeros(len(prompts), *base.latent_shape))
    with pytest.raises(UserError, match="too few different"):
        evolve.start(tmp_path / "p", base, FEW)


@pytest.mark.parametrize("threshold", [-1.0, float("nan"), float("inf")])
def test_no_such_threshold(pool, base, home, tmp_path, threshold):
    with pytest.raises(UserError, match="threshold"):
        evolve.next_round(pool.folder, base, [ballot(tmp_path / "b", pool.menu(1), (20, 0, 0, 0))], threshold=threshold)
    assert not pool.place(2).exists()


def test_unvoted_draws_around_every_cluster_alike_and_counts_nothing(pool, base, home, monkeypatch):
    monkeypatch.setattr(evolve, "VARIATION", (0,))  # so little noise that every child is its parent
    menu, told = pool.menu(1), []
    drawn = evolve.unvoted(pool.folder, base, on_step=lambda *x: told.append(x))
    _, embedded = drawn.pictures(2)
    assert drawn.round == 2 and np.bincount(menu.nearest(embedded), minlength=4).tolist() == [10, 10, 10, 10]
    assert drawn.tally(2) is None and told[-1] == (40, 40) and not home.exists()
    said = evolve.voted(drawn)
    assert said.owners == {} and said.privacy["guarantee"] == "not needed"


def test_unvoted_is_the_same_pool_for_the_same_seed(pool, started, base, tmp_path):
    import shutil

    shutil.copytree(started.folder, tmp_path / "again")
    first, again = (evolve.unvoted(folder, base).pictures(2)[0] for folder in (pool.folder, tmp_path / "again"))
    assert torch.equal(first, again) and not torch.equal(first, pool.pictures(1)[0])
