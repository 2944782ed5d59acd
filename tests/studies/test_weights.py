"""The study of shared weights: every attack on the same victims, paired with the floor; nothing counts below the gate."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sfumato.adapters import formats
from sfumato.attacker.weights import network_autoencoder
from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.judge.metrics.identity import Gallery
from sfumato.studies import lora_people, weights, weights_judge, weights_table
from sfumato.studies.lora_people import PeopleConfig
from sfumato.studies.weights_scores import FLOOR, OWNER, table
from sfumato.studies.weights_table import Row, all_rows

SMALL = PeopleConfig(public=4, victims=2, each=2, rank=4, steps=2, batch=2, keep=2, together=4)


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    of, load = Gallery.of, weights_judge.store.load
    monkeypatch.setattr(weights_judge, "MINIMUM", 6)
    monkeypatch.setattr(weights_judge.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
    monkeypatch.setattr(network_autoencoder, "DRAWS", {"quick": 4})
    monkeypatch.setattr(network_autoencoder, "STEPS", {"quick": 2})
    monkeypatch.setattr(weights_judge.store, "load", lambda style, pool, count, **how: load(style, pool, 120, **how))
    monkeypatch.setattr(weights_table, "STEPS", {"quick": 2})
    monkeypatch.setattr(weights_table, "PICTURES", {"quick": 2})
    monkeypatch.setattr(lora_people, "CLASS_PICTURES", 2)


def test_a_study_goes_from_public_people_to_a_table_and_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    file = tmp_path / "probe.safetensors"
    made = weights.train_attacker(tiny, SMALL, tmp_path / "work", file, {"encoder": "probe", "budget": 2, "together": 2})
    assert weights.card(made)["encoder"] == "probe" and weights.card(made)["guarantee"] == "none"
    rows = (Row(attack="prior_sampling:random_person"), Row(attack="network_autoencoder:probe", steps_known=True))
    monkeypatch.setattr(weights_table, "all_rows", lambda models: rows)
    stopped = weights.study(tiny, SMALL, tmp_path / "work", tmp_path / "out", [file])
    assert stopped["attacks"] == {} and stopped["owner"]["n"] == 4  # two steps teach nothing: below the gate nothing is attacked
    figures = weights.study(tiny, SMALL, tmp_path / "work", tmp_path / "out", [file], anyway=True)
    assert set(figures["attacks"]) == {"prior_sampling:random_person", "network_autoencoder:probe, steps known"}
    assert all(row["n"] == 4 and row["low"] <= row["top1"] <= row["high"] for row in figures["attacks"].values())
    assert figures["owner"]["n"] == 4 and figures["gate"]["passed"] is False  # two steps teach nothing, and that is said
    page = (tmp_path / "out" / "weights.html").read_text()
    assert "The gate is not passed" in page and "data:image/png" in page and (tmp_path / "out" / "weights.png").exists()
    monkeypatch.setattr(weights_table.attacks, "attempt", lambda *a, **k: pytest.fail("it ran again"))
    assert weights.study(tiny, SMALL, tmp_path / "work", tmp_path / "out", [file], anyway=True)["attacks"] == figures["attacks"]
    with pytest.raises(UserError, match="other settings"):
        weights_table.evaluate(tiny, [], (), None, PeopleConfig(), tmp_path / "out")


def test_files_are_attacked_one_by_one_and_a_bad_one_is_named(tiny, tmp_path):
    file = tmp_path / "linear.safetensors"
    weights.train_attacker(tiny, SMALL, tmp_path / "work", file, {"encoder": "linear", "budget": 2, "together": 2})
    victim = lora_people.train_victims(tiny, SMALL, tmp_path / "work" / "victims")[0]
    truth = tmp_path / "truth"
    from sfumato.studies.owners import write_folder

    write_folder(victim.pictures, truth)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x80\x04pickle")
    found = weights.attack_files(tiny, [victim.file, bad], [file], tmp_path / "out")
    good = found["files"][victim.file.name]
    assert good["header"]["tensors"]["rank"] == [4] and "error" in found["files"]["bad.safetensors"]
    assert json.loads((tmp_path / "out" / "attack.json").read_text()) == found
    near = weights.attack_files(tiny, [victim.file], [file], tmp_path / "out", truth=truth)["files"][victim.file.name]["scores"]
    assert set(near) == {"prior_sampling:class_prompt", "network_autoencoder:linear"}
    assert all(0 <= scores["nearest private picture"] <= 1 and -1 <= scores["identity similarity"] <= 1 for scores in near.values())


def test_a_copy_of_a_private_picture_is_seen_as_one(tiny, tmp_path):
    victim = lora_people.train_victims(tiny, PeopleConfig(public=4, victims=2, each=2, rank=4, steps=1, batch=2), tmp_path)[0]
    others = lora_people.train_victims(tiny, PeopleConfig(public=4, victims=2, each=2, rank=4, steps=1, batch=2), tmp_path)
    judge = weights_judge.Judge(others, 2, 0)
    copied, other = judge(victim.pictures.images[:1], victim), judge(others[1].pictures.images[:1], victim)
    assert copied["nearest private"] == pytest.approx(0, abs=1e-6) and copied["nearest other"] > 1e-3
    assert copied["identity"] > other["identity"] and copied["hit"] and not other["hit"]
    assert weights._near(victim.pictures.images[:1], victim.pictures.images)["nearest private picture"] == pytest.approx(0, abs=1e-6)


def cells(hits):
    return {
        f"v{i}": {"hit": bool(hit), "identity": 0.5, "nearest private": 0.1, "nearest other": 0.2, "skin": 1.0, "hair": 0.0, "seconds": 1.0}
        for i, hit in enumerate(hits)
    }


def test_the_table_pairs_every_attack_with_the_floor_and_the_gate_decides():
    draws = np.random.default_rng(0)
    names = {f"v{i}": ("a", "b")[i % 2] for i in range(60)}
    strong, weak = draws.random(60) < 0.6, draws.random(60) < 0.02
    found = table({OWNER: cells(strong), FLOOR: cells(weak), "a": cells(strong), "b": cells(weak)}, names, 0.005)
    assert found["gate"]["passed"] and found["attacks"]["a"]["effective"] and not found["attacks"]["b"]["effective"]
    assert set(found["attacks"]["a"]["pools"]) == {"a", "b"} and found["attacks"]["a"]["pools"]["b"]["n"] == 30
    assert found["attacks"]["a"]["identity_similarity"]["n"] == 60 and found["owner"]["top1"] == pytest.approx(strong.mean())
    assert not table({OWNER: cells(weak), FLOOR: cells(weak), "a": cells(strong)}, names, 0.005)["gate"]["passed"]
    assert not table({OWNER: cells(strong), FLOOR: cells(strong)}, names, 0.005)["gate"]["passed"]


def test_an_attack_that_had_nothing_or_failed_is_told_apart():
    names = {"v0": "a", "v1": "a"}
    lacking = {name: {"outcome": "no channel", "why": "no Trained"} for name in names}
    failed = {name: {"outcome": "failed", "why": "diverged"} for name in names}
    found = table({OWNER: cells([1, 1]), FLOOR: cells([0, 0]), "x": lacking, "y": failed}, names, 0.005)
    assert found["attacks"]["x"] == {"outcome": "no channel", "why": "no Trained", "n": 0} and found["attacks"]["y"]["why"] == "diverged"


def test_every_attack_on_pictures_has_its_rows():
    hypernet, final, constant = (
        SimpleNamespace(config=SimpleNamespace(encoder=encoder, with_step=True), steps=steps)
        for encoder, steps in (("hypernet", (5, 10)), ("hypernet", (10,)), ("constant", (5, 10)))
    )
    labels = [row.label for row in all_rows({"hypernet": hypernet, "final": final, "constant": constant})]
    assert "network_autoencoder:hypernet, of another's file" in labels and "network_autoencoder:constant" in labels
    assert not any(label.startswith("network_autoencoder:constant,") for label in labels)
    assert "network_autoencoder:hypernet, final" in labels
    assert "network_autoencoder:hypernet, final, steps known" not in labels  # it knows one step, so that nothing could change
    assert "network_autoencoder:hypernet" in labels and "network_autoencoder:hypernet, steps known" in labels
    assert "guided_extraction:w3, trigger known" in labels and "gradient_matching" in labels and "prior_sampling:mean_picture" in labels
    assert len(labels) == len(set(labels))


def test_victims_files_are_ordinary_ones(tiny, tmp_path):
    victim = lora_people.train_victims(tiny, SMALL, tmp_path)[0]
    assert formats.read(victim.file).unknown == ()


def test_an_attempt_that_failed_named_nobody():
    names = {f"v{i}": "a" for i in range(4)}
    kept = cells([1, 1, 1, 1]) | {"v3": {"outcome": "failed", "why": "diverged"}}
    row = table({OWNER: cells([1] * 4), FLOOR: cells([0] * 4), "x": kept}, names, 0.005)["attacks"]["x"]
    assert row["top1"] == 0.75 and row["failed"] == 1 and row["n"] == 4


def test_encoders_are_paired_with_what_could_explain_them():
    names = {f"v{i}": "a" for i in range(40)}
    reads, blind = [1] * 30 + [0] * 10, [1] * 10 + [0] * 30
    own, swapped = "network_autoencoder:probe", "network_autoencoder:probe, of another's file"
    rows = {own: cells(reads), swapped: cells(blind), "prior_sampling:rare_tokens": cells(reads), f"{own}, steps known": cells(reads)}
    pairs = table({OWNER: cells(reads), FLOOR: cells([0] * 40), **rows}, names, 0.005)["pairs"]
    assert set(pairs) == {f"{own} / {swapped}", f"{own} / prior_sampling:rare_tokens"}  # steps known is knowledge of another kind
    assert pairs[f"{own} / {swapped}"]["difference"] == 0.5 and pairs[f"{own} / {swapped}"]["low"] > 0.2
    assert pairs[f"{own} / {swapped}"]["adjusted_p"] < 0.01 < pairs[f"{own} / prior_sampling:rare_tokens"]["adjusted_p"]


def test_another_attacker_of_the_same_name_is_not_taken_for_the_first():
    row = Row(attack="network_autoencoder:probe")
    figures = {"cells": {row.label: {"v": {"hit": True}}}}
    model = SimpleNamespace(config=SimpleNamespace(encoder="probe"), facts={"run": "a"})
    weights_table._forget(figures, (row,), {"probe": model})
    assert row.label in figures["cells"]
    model.facts["run"] = "b"
    weights_table._forget(figures, (row,), {"probe": model})
    assert row.label not in figures["cells"]


def test_line_ups_hold_people_of_the_victims_own_pool(tiny, tmp_path):
    victims = lora_people.train_victims(tiny, PeopleConfig(public=4, victims=2, each=2, rank=4, steps=1, batch=2), tmp_path)
    judge = weights_judge.Judge(victims, 2, 0)
    assert {pool: len(gallery.identities) for pool, gallery in judge.galleries.items()} == {"recombined": 6, "unseen_part": 6}
    people = {pool: set(gallery.identities) for pool, gallery in judge.galleries.items()}
    assert not people["recombined"] & people["unseen_part"] and judge.chance == 1 / 6


def test_two_attackers_of_one_name_are_refused(tiny, tmp_path):
    file, other = tmp_path / "a.safetensors", tmp_path / "b" / "a.safetensors"
    weights.train_attacker(tiny, SMALL, tmp_path / "work", file, {"encoder": "constant", "budget": 1, "together": 2})
    other.parent.mkdir()
    other.write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="two attackers called 'a'"):
        weights._named(tiny, [file, other])
