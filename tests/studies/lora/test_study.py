"""The study of shared weights: every attack on the same victims, paired with the floor; nothing counts below the gate."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.adapters import dreambooth, formats, train_one
from sfumato.adapters.dreambooth import Task
from sfumato.adapters.lora import LoraSettings
from sfumato.adapters.trajectories import Store
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import _autoencoder as autoencoder
from sfumato.attacker.weights import _sampling, lineup_likelihood, network_autoencoder, read_identity
from sfumato.attacker.weights.base import Published, Trigger
from sfumato.core.artifact import from_bytes, to_bytes
from sfumato.core.errors import UserError
from sfumato.core.randomness import spread
from sfumato.diffusion.base import load_base
from sfumato.judge.metrics.identity import Gallery
from sfumato.pictures import store
from sfumato.studies.lora import attacker as lora_attacker
from sfumato.studies.lora import candidates, evaluate, judge, people, study
from sfumato.studies.lora import files as lora_files
from sfumato.studies.lora.evaluate import Row, all_rows
from sfumato.studies.lora.people import PeopleConfig
from sfumato.studies.owners import write_folder
from tests_support import few_steps

SMALL = PeopleConfig(public=4, victims=2, each=2, rank=4, steps=2, batch=2, keep=2, together=4)


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    of, load = Gallery.of, judge.store.load
    monkeypatch.setattr(judge, "MINIMUM", 6)
    monkeypatch.setattr(judge.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
    monkeypatch.setattr(lineup_likelihood, "STEPS", 2)
    monkeypatch.setattr(lineup_likelihood, "PICTURES", {"quick": 2})
    monkeypatch.setattr(network_autoencoder, "DRAWS", {"quick": 4})
    monkeypatch.setattr(network_autoencoder, "STEPS", {"quick": 2})
    monkeypatch.setattr(judge.store, "load", lambda style, pool, count, **how: load(style, pool, 120, **how))
    monkeypatch.setattr(evaluate, "STEPS", {"quick": 2})
    monkeypatch.setattr(evaluate, "PICTURES", {"quick": 2})
    monkeypatch.setattr(people, "CLASS_PICTURES", 2)
    few_steps(monkeypatch, dreambooth, _sampling, steps=2)


def test_a_study_goes_from_public_people_to_a_table_and_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    file = tmp_path / "probe.safetensors"
    made = lora_attacker.train_attacker(tiny, SMALL, tmp_path / "work", file, {"encoder": "probe", "budget": 2, "together": 2})
    assert lora_attacker.card(made)["encoder"] == "probe" and lora_attacker.card(made)["guarantee"] == "none"
    rows = (Row(attack="prior_sampling:random_person"), Row(attack="network_autoencoder:probe", steps_known=True),
            Row(attack="lineup_likelihood:calibrated"), Row(attack="read_identity:cosine"))  # fmt: skip
    monkeypatch.setattr(evaluate, "all_rows", lambda models: rows)
    quick_readers(monkeypatch)
    stopped = study.run(tiny, SMALL, tmp_path / "work", tmp_path / "out", [file])
    assert stopped["attacks"] == {} and stopped["owner"]["n"] == 4  # two steps teach nothing: below the gate nothing is attacked
    figures = study.run(tiny, SMALL, tmp_path / "work", tmp_path / "out", [file], anyway=True)
    assert set(figures["attacks"]) == {row.label for row in rows}
    for label in ("lineup_likelihood:calibrated", "read_identity:cosine"):  # with the adapters of public people that were trained before
        cell = figures["cells"][label]["recombined-000"]
        assert 1 <= cell["rank"] <= 6 and "identity" not in cell and "adapters" in " ".join(cell["budget"])
    assert all(row["n"] == 4 and row["low"] <= row["top1"] <= row["high"] for row in figures["attacks"].values())
    assert figures["owner"]["n"] == 4 and figures["gate"]["passed"] is False  # two steps teach nothing, and that is said
    page = (tmp_path / "out" / "weights.html").read_text()
    assert "The gate is not passed" in page and "data:image/png" in page and (tmp_path / "out" / "weights.png").exists()
    monkeypatch.setattr(evaluate.attacks, "attempt", lambda *a, **k: pytest.fail("it ran again"))
    assert study.run(tiny, SMALL, tmp_path / "work", tmp_path / "out", [file], anyway=True)["attacks"] == figures["attacks"]
    with pytest.raises(UserError, match="other settings"):
        evaluate.evaluate(tiny, [], (), None, PeopleConfig(), tmp_path / "out")


def quick_readers(monkeypatch):
    train = read_identity.identity.train
    monkeypatch.setattr(read_identity.identity, "train", lambda described, who, seed: train(described, who, seed=seed, steps=2))
    monkeypatch.setattr(read_identity, "FOLDS", 2)


@pytest.mark.parametrize("layout", ["person column", "folders"])
def test_a_users_own_line_up_is_ranked_and_names_who_comes_first(tiny, attacked, tmp_path, monkeypatch, layout):
    attacker, good = attacked
    drawn = store.distinct(people.STYLE, "public", 3, 2, seed=5, purpose="line up")
    folder = tmp_path / "people"
    if layout == "person column":
        write_folder(drawn, folder)
    else:
        for k, person in enumerate(drawn.identities):
            path = folder / person.replace("/", " ") / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.images[k]).save(path)
    line_up, names = candidates.read_candidates(folder, base=tiny)
    assert line_up.images.shape[:2] == line_up.z_0.shape[:2] == (3, 2)
    assert {name.replace(" ", "/") for name in names} == {person.replace(" ", "/") for person in drawn.identities}
    for k, name in enumerate(names):
        own = [image for image, who in zip(drawn.images, drawn.identities, strict=True) if who.replace("/", " ") == name.replace("/", " ")]
        assert (line_up.images[k] == np.stack(own)).all()
    if layout == "folders":
        return
    monkeypatch.setattr(lora_files, "PeopleConfig", lambda: SMALL)
    answers = lora_files.attack_files(tiny, [good], [attacker], tmp_path / "out", candidates=folder, work=tmp_path)["files"]
    raw = answers[good.name]["line up"]
    assert raw["candidates"] == 3 and raw["pictures of each"] == 2 and set(raw["ranked"]) == {"lineup_likelihood:raw"} and not raw["failed"]
    ranked = raw["ranked"]["lineup_likelihood:raw"]  # nobody's adapters are in that folder
    assert {one["person"] for one in ranked} == set(names)
    assert [one["score"] for one in ranked] == sorted((one["score"] for one in ranked), reverse=True)
    quick_readers(monkeypatch)
    known = Scenario(tiny, Published(formats.read(good)), *lora_attacker.of_public(tiny, SMALL, good.parent.parent))
    found = candidates.rank(known, line_up, names, effort="quick", seed=0)
    assert set(found["ranked"]) == {"lineup_likelihood:calibrated", "read_identity:cosine"} and not found["failed"]


def test_a_line_up_of_nobody_or_of_one_is_refused(tiny, make_folder, tmp_path):
    with pytest.raises(UserError, match="pictures of nobody"):
        candidates.read_candidates(make_folder(), base=tiny)
    (tmp_path / "one" / "anna").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one" / "anna" / "a.png")
    with pytest.raises(UserError, match="1 people"):
        candidates.read_candidates(tmp_path / "one", base=tiny)
    with pytest.raises(UserError, match="no such folder"):
        candidates.read_candidates(tmp_path / "none", base=tiny)


def test_public_adapters_of_another_base_are_refused_and_too_few_are_none(tiny, attacked, tmp_path):
    drawn = people.public_people(SMALL)
    folder = attacked[1].parent.parent / "public"
    found = people.kept_public(tiny, drawn, folder, SMALL)
    assert found.identities == tuple(drawn.identities[::2]) and found.usual() == (2, 3)
    adapter = found.adapter(2, 3)
    kept = Store(folder).get(people.name_of(2)).adapter(max(found.shadows.steps))
    for name, (a, b) in kept.factors.items():
        assert torch.allclose(adapter.factors[name][0], a, atol=1e-3) and torch.allclose(adapter.factors[name][1], b, atol=1e-3)
    assert people.kept_public(tiny, drawn, tmp_path, SMALL) is None
    other = shutil.copytree(folder, tmp_path / "other")
    facts = other / f"{people.name_of(0)}.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"base": "x"}))
    with pytest.raises(UserError, match="another base"):
        people.kept_public(tiny, drawn, other, SMALL)


def test_files_are_attacked_one_by_one_and_a_bad_one_is_named(tiny, attacked, victims, tmp_path):
    file, victim = attacked[0], victims[0]
    truth = tmp_path / "truth"
    write_folder(victim.pictures, truth)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x80\x04pickle")
    found = lora_files.attack_files(tiny, [victim.file, bad], [file], tmp_path / "out")
    good = found["files"][victim.file.name]
    assert good["header"]["tensors"]["rank"] == [4] and "error" in found["files"]["bad.safetensors"]
    assert json.loads((tmp_path / "out" / "attack.json").read_text()) == found
    near = lora_files.attack_files(tiny, [victim.file], [file], tmp_path / "out", truth=truth)["files"][victim.file.name]["scores"]
    assert set(near) == {lora_files.BASE, "prior_sampling:class_prompt", "prior_sampling:rare_tokens", "network_autoencoder:linear"}
    assert all(0 <= scores["nearest private picture"] <= 1 and -1 <= scores["identity similarity"] <= 1 for scores in near.values())


@pytest.fixture(scope="module")
def attacked(tiny, tmp_path_factory):
    """A trained attacker, and a victim's file."""
    work, attacker = tmp_path_factory.mktemp("attacked"), tmp_path_factory.mktemp("attacker") / "linear.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "CLASS_PICTURES", 2)
        few_steps(patch, dreambooth, steps=2)
        lora_attacker.train_attacker(tiny, SMALL, work, attacker, {"encoder": "linear", "budget": 2, "together": 2})
        return attacker, people.train_victims(tiny, SMALL, work / "victims")[0].file


@pytest.fixture(scope="module")
def victims(tiny, attacked):
    """Those of the folder where the victim's file is: trained already, and read."""
    return people.train_victims(tiny, SMALL, attacked[1].parent)


def changed(file, out, **values):
    """A copy of a LoRA file whose tensors are passed through ``values["tensors"]``, with ``values["notes"]``."""
    tensors = from_bytes(file.read_bytes(), name="x")
    out.write_bytes(to_bytes(values.get("tensors", dict)(tensors), values.get("notes", {})))
    return out


def test_whatever_is_wrong_with_a_file_is_named_and_what_its_header_says_is_kept(tiny, attacked, tmp_path):
    attacker, good = attacked
    notes = {"ss_tag_frequency": json.dumps({"5_alice": {"a photo of alice at home": 1}})}
    first = next(iter(from_bytes(good.read_bytes(), name="x")))
    layer = first.removesuffix(".lora_A.weight").removesuffix(".lora_B.weight")
    bad = {
        "nan": (lambda t: {k: v * float("nan") for k, v in t.items()}, "no finite numbers"),
        "loha": (lambda t: t | {f"{layer}.hada_w1_a": torch.ones(2, 2)}, "LoHa"),
        "lokr": (lambda t: t | {f"{layer}.lokr_w1": torch.ones(2, 2)}, "LoKr"),
        "dora": (lambda t: t | {f"{layer}.dora_scale": torch.ones(2, 2)}, "DoRA"),
        "half": (lambda t: {k: v for k, v in t.items() if k != first}, "both factors"),
        "another base": (lambda t: {k.replace("unet.down_blocks", "unet.over_blocks"): v for k, v in t.items()}, "has no such layer"),
        "wider": (lambda t: {k: torch.cat([v, v], dim=1 if "lora_A" in k else 0) for k, v in t.items()}, "weights of shape"),
        "empty": (lambda t: {}, "no LoRA weights"),
    }
    files = [changed(good, tmp_path / f"{name}.safetensors", tensors=change, notes=notes) for name, (change, _) in bad.items()]
    answers = lora_files.attack_files(tiny, files, [attacker], tmp_path / "out")["files"]
    for name, (_, said) in bad.items():
        answer = answers[f"{name}.safetensors"]
        assert said in answer["error"] and "expected" in answer["error"] and "Failed(" not in answer["error"], name
        assert "5_alice" in json.dumps(answer["header"]) and "alice at home" in json.dumps(answer["header"]), name


def test_what_an_attacker_does_not_know_is_listed_and_lora_files_one_name_keep_their_pictures(tiny, attacked, tmp_path):
    attacker, good = attacked
    files = [tmp_path / who / "pytorch_lora_weights.safetensors" for who in ("alice", "bob", "carol")]
    for file in files:
        file.parent.mkdir()
    changed(good, files[0], tensors=lambda t: t | {"who.knows": torch.ones(1)})
    changed(good, files[1], tensors=lambda t: {k: v[:2] if "lora_A" in k else v[:, :2] for k, v in t.items()})
    changed(good, files[2], tensors=lambda t: {k: v for k, v in t.items() if k.startswith("text_encoder.")})
    answers = list(lora_files.attack_files(tiny, files, [attacker], tmp_path / "out", prompt="a photo of cat")["files"].values())
    assert not any("error" in answer for answer in answers) and answers[0]["unknown keys"] == ["who.knows"]
    assert len({answer["pictures"] for answer in answers}) == 3 and all(Path(answer["pictures"]).exists() for answer in answers)
    assert answers[1]["budget"]["network_autoencoder:linear"]["rank"].startswith("2, ")
    assert answers[2]["budget"]["network_autoencoder:linear"]["layers taken as zeros"] > 0  # a text encoder's adapter alone


def test_what_the_header_gives_away_is_used_and_one_attack_takes_nothing_from_another(tiny, attacked, tmp_path, monkeypatch):
    attacker, good = attacked
    told = changed(good, tmp_path / "told.safetensors", notes={"ss_steps": "2", "ss_tag_frequency": json.dumps({"5_anna smith": {"x": 1}})})
    other = LoraSettings(rank=2, targets=("to_k",), text_targets=())
    formats.write(
        train_one.first_adapter(tiny, other, Task(latents=torch.zeros(1, 4, 16, 16), prompts=("x",), seed=0)), tmp_path / "k.safetensors"
    )
    called, attempt = [], lora_files.attacks.attempt

    def spy(row, given, **how):
        called.extend([given[Trigger].prompt] if given.get(Trigger) else [])
        return attempt(row, given, **how)

    monkeypatch.setattr(lora_files.attacks, "attempt", spy)
    answers = lora_files.attack_files(tiny, [told, tmp_path / "k.safetensors"], [attacker], tmp_path / "out")["files"]
    leaked, blind = answers["told.safetensors"], answers["k.safetensors"]
    assert leaked["budget"]["network_autoencoder:linear"]["fine-tuning steps"] == "2, known"
    assert "guided_extraction:plain, trigger of the header" in leaked["budget"] and leaked["failed"] == {}
    assert called == ["a photo of anna smith peep"]
    assert "other layers" in blind["failed"]["network_autoencoder:linear"] and "error" not in blind
    assert set(blind["budget"]) == {"prior_sampling:class_prompt", "prior_sampling:rare_tokens"} and Path(blind["pictures"]).exists()


def test_the_contact_sheet_shows_people_on_whom_everything_was_tried(victims, tmp_path):
    dear, other = "gradient_matching", "prior_sampling:null_prompt"
    cells = {label: {v.name: {"hit": True} for v in victims} for label in (evaluate.OWNER, evaluate.FLOOR, other)}
    cells |= {dear: {victims[2].name: {"hit": False}, victims[3].name: {"outcome": "failed", "why": "x"}}, "none": {}}
    for label, kept in cells.items():
        for name in kept:
            evaluate.pages.keep(tmp_path / "pictures" / f"{evaluate.pages.named(label)}-{name}.npy", np.zeros((2, 64, 64, 3), np.uint8))
    shown = []
    sheet = evaluate.pages.contact_sheet
    scored = {"outcome": "scored", "verdict": "not shown"}
    rows = {dear: {**scored, "top1": 0.5}, other: {**scored, "top1": 1.0}, "none": {"outcome": "no channel"}}
    figures = {"cells": cells, "attacks": rows, "gate": {"passed": True, "asked": "much"}, "chance": 0.2}
    for figures["cells"] in (cells, {**cells, dear: {victims[3].name: {"outcome": "failed", "why": "x"}}}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluate.pages, "contact_sheet", lambda rows: shown.append(rows) or sheet(rows))
            patch.setattr(evaluate.pages, "write_page", lambda *how: None)
            evaluate._sheet(figures, victims, tmp_path)
    assert [label for label, _ in shown[0]] == ["private", evaluate.OWNER, evaluate.FLOOR, other, dear]
    assert {len(pictures) for _, pictures in shown[0]} == {1} and (shown[0][0][1][0] == victims[2].pictures.images[0]).all()
    assert [label for label, _ in shown[1]] == ["private", evaluate.OWNER, evaluate.FLOOR, other] and len(shown[1][0][1]) == 4


def test_the_attacker_that_ships_is_for_the_base_that_ships(tiny, base):
    model = autoencoder.load(lora_attacker.shipped(tiny), tiny)
    assert lora_attacker.shipped(tiny).stat().st_size <= 8e6 and model.config.encoder == "invariant"
    assert model.facts["people"] + model.facts["people set aside"] >= 400 and len(model.steps) >= 16
    own, others = model.facts["curve"][-1][2:]
    assert own < others < model.facts["loss without"]  # it reads something of the person, and more of what all have in common
    with pytest.raises(UserError, match="attack-weights train"):
        lora_attacker.shipped(base)


def test_every_attack_on_pictures_has_its_rows():
    hypernet, final, constant = (
        SimpleNamespace(config=SimpleNamespace(encoder=encoder, with_step=True), steps=steps)
        for encoder, steps in (("hypernet", (5, 10)), ("hypernet", (10,)), ("constant", (5, 10)))
    )
    labels = [row.label for row in all_rows({"hypernet": hypernet, "final": final, "constant": constant})]
    assert "network_autoencoder:hypernet, of another's file" in labels and "network_autoencoder:constant" in labels
    assert not any(label.startswith("network_autoencoder:constant,") for label in labels)
    assert "network_autoencoder:hypernet, final" in labels
    later = [label for label in labels if label.startswith("network_autoencoder:hypernet, final")]
    assert later == ["network_autoencoder:hypernet, final"]  # controls go with the first of a kind
    alone = [row.label for row in all_rows({"hypernet": final})]
    assert "network_autoencoder:hypernet, steps known" not in alone  # it knows one step, so that nothing could change
    assert "network_autoencoder:hypernet, of another's file" in alone
    assert "network_autoencoder:hypernet" in labels and "network_autoencoder:hypernet, steps known" in labels
    assert "guided_extraction:w3, trigger known" in labels and "gradient_matching" in labels and "prior_sampling:mean_picture" in labels
    assert {"lineup_likelihood:calibrated", "lineup_likelihood:raw", "read_identity:likelihood", "read_identity:cosine"} == set(labels[:4])
    assert len(labels) == len(set(labels))


def test_a_dear_attack_is_tried_on_victims_of_every_pool():
    assert Row(attack="gradient_matching").most("quick") == 32 and Row(attack="prior_sampling:null_prompt").most("quick") is None
    assert sum(k < 25 for k in spread(50, 32)) == 16  # half of each pool


def test_victims_files_are_ordinary_ones(attacked):
    assert formats.read(attacked[1]).unknown == ()


def test_what_other_public_adapters_found_is_found_again_and_what_needs_none_is_kept():
    rows = tuple(Row(attack=name) for name in ("read_identity:cosine", "lineup_likelihood:calibrated", "lineup_likelihood:raw"))
    figures = {"cells": {row.label: {"v": {"hit": True}} for row in rows}}
    evaluate._forget(figures, rows, {}, SimpleNamespace(run="a"))
    evaluate._forget(figures, rows, {}, SimpleNamespace(run="a"))
    assert len(figures["cells"]) == 3
    evaluate._forget(figures, rows, {}, SimpleNamespace(run="b"))
    assert set(figures["cells"]) == {"lineup_likelihood:raw"}


def test_another_lora_attacker_the_same_name_is_not_taken_for_the_first():
    row = Row(attack="network_autoencoder:probe")
    figures = {"cells": {row.label: {"v": {"hit": True}}}}
    model = SimpleNamespace(config=SimpleNamespace(encoder="probe"), facts={"run": "a"})
    evaluate._forget(figures, (row,), {"probe": model})
    assert row.label in figures["cells"]
    model.facts["run"] = "b"
    evaluate._forget(figures, (row,), {"probe": model})
    assert row.label not in figures["cells"]


def test_two_attackers_of_one_name_are_refused(tiny, attacked, tmp_path):
    file, other = tmp_path / "a.safetensors", tmp_path / "b" / "a.safetensors"
    other.parent.mkdir()
    for copy in (file, other):
        copy.write_bytes(attacked[0].read_bytes())
    with pytest.raises(UserError, match="two attackers called 'a'"):
        lora_attacker.named(tiny, [file, other])
