"""``sfumato evolve`` and ``sfumato vote`` from end to end, on a small base: two owners, one round, and a training."""

import json

import pytest
from PIL import Image

from sfumato.records import ballot as ballots
from vote_support import menu_bytes, write_folder

START = ("--pictures", 16, "--clusters", 2, "--owners", 2, "--network", "pixels", "--steps", 1)
VOTE = ("--epsilon", 30)  # of eight people


@pytest.fixture
def owners(tmp_path):
    """Folders of two owners: people of theirs alone."""
    people = {name: [f"{name}{i // 2}" for i in range(16)] for name in ("anna", "ben")}
    return {name: write_folder(tmp_path / name, [0, 1, 2, 3] * 4, people=people[name], seed=k) for k, name in enumerate(people)}


def told(code_out_err):
    code, out, err = code_out_err
    assert code == 0, err
    return json.loads(out)


def test_two_owners_vote_once_and_a_server_trains(run, owners, mini, tmp_path):
    pool = tmp_path / "pool"
    started = told(run("evolve", "start", pool, *START, "--base", mini, "--json"))
    with Image.open(started["sheet"]) as sheet:
        assert sheet.size[0] > 64
    files = []
    for name, folder in owners.items():
        how = ("vote", folder, "--menu", started["menu"], "-o", tmp_path / f"{name}.ballot", "--owner", name)
        cast = told(run(*how, *VOTE, "--base", mini, "--json"))
        assert cast["bytes"] <= 1024 and cast["unit"] == "person" and cast["rounds"] == 1 and cast["secure"] and not cast["again"]
        files.append(tmp_path / f"{name}.ballot")
    evolved = told(run("evolve", "next", pool, *files, "--base", mini, "--json"))
    assert evolved["round"] == 2 and sorted(evolved["owners"]) == ["anna", "ben"] and evolved["winners"]
    assert sum(evolved["counts"]) == pytest.approx(sum(ballots.read(file).votes.sum() for file in files))
    made = told(run("train", pool, "-o", tmp_path / "net", "--steps", 1, "--batch", 2, "--held-out", 0, "--base", mini, "--json"))
    assert made["records"] == 16 and made["owners"] == ["anna", "ben"]
    said = json.loads((tmp_path / "net" / "sfumato.json").read_text())
    assert said["scheme"] == "private_evolution" and said["owners"] == 2
    assert said["privacy"]["epsilon"] == pytest.approx(30) and said["privacy"]["unit"] == "person"
    assert "anna" not in json.dumps(said) and "anna" in (tmp_path / "net-work" / "provenance.json").read_text()
    code, _, err = run("train", pool, tmp_path / "other", "-o", tmp_path / "net2", "--base", mini)
    assert code == 2 and "a pool, beside 1 more" in err


def test_a_person_reads_what_left_and_what_it_means(run, owners, base, mini, tmp_path):
    (tmp_path / "menu").write_bytes(menu_bytes(base))
    how = ("vote", owners["anna"], "--menu", tmp_path / "menu", "-o", tmp_path / "b", "--owner", "anna", *VOTE, "--base", mini)
    code, _, err = run(*how)
    assert (
        code == 0
        and "of 8 people" in err
        and "epsilon 30 at delta 1e-05" in err
        and "chance to pick the right one" in err
        and "VACUOUS" in err
    )
    (tmp_path / "b").unlink()
    code, _, err = run(*how)
    assert code == 0 and "again, as it was drawn the first time" in err
    code, _, err = run(*how[:5], tmp_path / "c", *how[6:], "--rounds", 2)
    assert code == 2 and "no vote was spent" in err and not (tmp_path / "c").exists()


def test_a_look_at_the_menu_casts_no_vote(run, owners, base, home, tmp_path):
    (tmp_path / "menu").write_bytes(menu_bytes(base))
    code, _, err = run("vote", owners["anna"], "--menu", tmp_path / "menu", "--look", tmp_path / "look.png")
    assert code == 0 and "no vote was cast" in err and not (home / "ledger").exists()
    with Image.open(tmp_path / "look.png") as sheet:
        assert {(230, 30, 30), (30, 30, 230)} <= {colour for _, colour in sheet.getcolors()}
    assert run("vote", owners["anna"], "--menu", tmp_path / "menu", "--look", tmp_path / "look.png")[0] == 2  # is not overwritten
    code, _, err = run("vote", owners["anna"], "--menu", tmp_path / "menu")
    assert code == 2 and "--out" in err


def test_what_is_no_menu_and_no_ballot_is_said(run, owners, mini, tmp_path):
    (tmp_path / "menu").write_bytes(b"{}")
    code, _, err = run("vote", owners["anna"], "--menu", tmp_path / "menu", "-o", tmp_path / "b", "--owner", "anna", "--base", mini)
    assert code == 2 and "not a menu" in err
    code, _, err = run("evolve", "next", tmp_path / "none", tmp_path / "menu", "--base", mini)
    assert code == 2 and "no pool there" in err


def test_a_ballot_can_be_looked_at(run, owners, base, mini, tmp_path):
    (tmp_path / "menu").write_bytes(menu_bytes(base))
    file = tmp_path / "b"
    told(run("vote", owners["anna"], "--menu", tmp_path / "menu", "-o", file, "--owner", "anna", *VOTE, "--base", mini, "--json"))
    seen = told(run("inspect", file, "--json"))
    assert seen["owner"] == "anna" and seen["key_is_new_here"] and seen["counts"] == ballots.read(file).votes.tolist()
    code, out, _ = run("inspect", file)
    assert code == 0 and "epsilon 30" in out and "one ballot of 1" in out
    assert run("inspect", file, "--audit")[0] == 2
    file.write_text(file.read_text().replace("anna", "ben"))
    code, _, err = run("inspect", file)
    assert code == 2 and "signature does not fit" in err
