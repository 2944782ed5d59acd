"""An owner's own records, attacked: guesses are scored against the right pictures, people are found, what is missing is said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.diffusion.base import load_base
from sfumato.judge.metrics.identity import Gallery
from sfumato.owner.folder import read_folder
from sfumato.owner.seal import seal
from sfumato.pictures import store
from sfumato.records.record import SealSettings
from sfumato.studies.owners import write_folder
from sfumato.studies.records import audit, audited, cell, matrix, people
from sfumato.studies.records.audit import AuditConfig

ATTACKS = ("algebraic", "linear_mmse", "linkage:exact")
ASKED = {"attacks": {}, "structure": {"forbidden": ["Noise"]}, "algebraic": {}, "person": {"times_prior": 3.0}}


@pytest.fixture
def config(monkeypatch):
    """Galleries, publics and priors of a few."""
    of, drawn = Gallery.of, people.prior
    monkeypatch.setattr(matrix.guesses.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
    monkeypatch.setattr(audited, "MINIMUM", 10)
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **{**how, "drawn": 4}))
    return AuditConfig(attacks=ATTACKS, people=6, each=2)


@pytest.fixture
def pictures(tmp_path):
    return write_folder(store.distinct("open-peeps", "recombined", 6, 3, seed=4, purpose="test"), tmp_path / "pictures")


@pytest.fixture
def sealed(pictures, tmp_path, home):
    def go(name="records", seed=3, **options):
        settings = SealSettings(**{"condition": "canny", "seal_step": 300, "condition_step": 200, **options})
        base = load_base()
        folder = read_folder(pictures, size=base.size, condition="canny")
        seal(folder, tmp_path / name, owner="me", codec=base, settings=settings, noise=InsecureNoise(seed), allow_rerelease=True)
        return tmp_path / name

    return go


def test_attacks_side_by_side_find_what_they_find_one_after_another(sealed, pictures, config, tmp_path):
    records = sealed(condition_step=None, derived=True)
    rows = (*ATTACKS, "linkage:jpeg", "diffusion_prior:mean")

    def found(jobs):
        figures = audit.run(records, pictures, tmp_path / f"out-{jobs}", replace(config, attacks=rows, jobs=jobs), asked=ASKED)
        kept = {name: {k: v for k, v in cell.items() if k not in ("in all", "seconds")} for name, cell in figures["cells"].items()}
        return kept, figures["leaks"], figures["knowledge"], figures["gates"], len(list((tmp_path / f"out-{jobs}/pictures").iterdir()))

    assert found(1) == found(2)


def test_jobs_below_none_are_refused(sealed, pictures, config, tmp_path):
    with pytest.raises(UserError, match="jobs"):
        audit.run(sealed(), pictures, tmp_path / "out", replace(config, jobs=-1), asked=ASKED)


def test_an_owner_learns_what_comes_back_and_an_audit_goes_on_where_it_stopped(sealed, pictures, config, tmp_path, monkeypatch):
    records, out = sealed(), tmp_path / "out"
    figures = audit.run(records, pictures, out, config, asked=ASKED)
    attacks = figures["attacks"]
    assert (
        set(attacks) == {"algebraic", "linear_mmse", "linkage"}
        and figures["records"] == 18
        and figures["leaks"] == {"Latents": 1, "Conditions": 1}
    )
    wanted = {"target", "effective", "score", "low", "high", "prior_only", "chance", "n", "seconds"}
    assert all(wanted <= set(attack) for attack in attacks.values())
    assert attacks["linkage"]["score"] == 1  # records, in whatever order, were matched with their own pictures
    errors = [attacks[name]["pools"]["records"]["targets"]["picture"]["beside"]["latent error"] for name in ("algebraic", "linear_mmse")]
    alpha, sigma = (float(f(300)) for f in (load_base().schedule.alpha, load_base().schedule.sigma))
    assert 0.2 * sigma / alpha < errors[0] < 2 * sigma / alpha and errors[1] < 1
    person = attacks["algebraic"]["pools"]["records"]["targets"]["person"]
    ceiling = figures["ceiling"]["picture"]
    assert ceiling["score"] > attacks["linear_mmse"]["score"] and ceiling["beside"]["latent error"] == 0 and ceiling["n"] == 18
    assert person["n"] == 6 and person["gallery"] >= 10  # of three pictures of a person one is looked for, two are in the gallery
    page = (out / "attack.html").read_text()
    assert "Your records: what an attacker gets" in page and "data:image/png" in page and str(pictures) not in page
    assert figures["verdict"]["headline"] in page and page.index('class="banner') < page.index("<table")
    labels = [f"<figcaption>{label}</figcaption>" for label in ("your picture", "what the server sees", "algebraic", "linear_mmse")]
    assert all(label in page for label in labels) and "Latents" not in page and audit.gates.place() in page
    assert f"without any seal, score {ceiling['score']:.3f}" in page and f"psnr&nbsp;{ceiling['beside']['psnr']:.3g}" not in page
    assert all(f"psnr&nbsp;{attacks[name]['beside']['psnr']:.3g}" in page for name in ("algebraic", "linear_mmse"))
    assert (out / "attack.png").exists() and json.loads((out / "attack.json").read_text())["gates"] == figures["gates"]

    monkeypatch.setattr(matrix.attacks, "attempt", lambda *a, **k: pytest.fail("it ran again"))
    assert audit.run(records, pictures, out, config, asked=ASKED)["attacks"] == attacks
    again = sealed("again", seed=4)
    with pytest.raises(UserError, match="an audit of other records"):
        audit.run(again, pictures, out, config, asked=ASKED)
    metadata = pictures / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace('"person"', '"who"'))
    with pytest.raises(UserError, match="an audit of other records"):  # what is said of people was scored with them
        audit.run(records, pictures, out, config, asked=ASKED)


def test_what_left_in_earlier_releases_counts(sealed, pictures, config, tmp_path):
    sealed()
    figures = audit.run(sealed("again", seed=4), pictures, tmp_path / "out", replace(config, attacks=("algebraic",)), asked=ASKED)
    structure = next(gate for gate in figures["gates"] if gate["name"] == "structure")
    assert figures["leaks"] == {"Latents": 2, "Conditions": 2} and structure["passed"] is False and figures["exit_code"] == 1


def test_records_that_could_not_be_read_were_not_attacked(sealed, pictures, config, tmp_path):
    records = sealed(clip=None)
    refusing = audit.reader.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit.reader, "load", lambda *a, **k: replace(refusing(*a, **k), refused=("me: shard-0001: damaged",)))
        figures = audit.run(records, pictures, tmp_path / "out", replace(config, attacks=("algebraic",)), asked={"structure": {}})
    passed = {gate["name"]: gate["passed"] for gate in figures["gates"]}
    assert passed == {"structure": True, "records": None, "public": None}  # of twelve public pictures little is learned
    assert "damaged" in figures["gates"][1]["found"] and figures["exit_code"] == 2


def test_an_owner_with_one_person_is_answered(pictures, sealed, config, tmp_path):
    metadata = pictures / "metadata.jsonl"
    rows = [json.loads(line) for line in metadata.read_text().splitlines()]
    metadata.write_text("\n".join(json.dumps({**row, "person": "me"}) for row in rows))
    figures = audit.run(sealed(), pictures, tmp_path / "out", replace(config, attacks=("algebraic",)), asked=ASKED)
    targets = figures["attacks"]["algebraic"]["pools"]["records"]["targets"]
    assert set(targets) == {"picture", "condition", "person"} and targets["picture"]["n"] == targets["picture"]["people"] == 18


def test_without_names_of_people_they_are_not_asked_and_the_page_says_so(sealed, pictures, config, tmp_path):
    rows = [json.loads(line) for line in (pictures / "metadata.jsonl").read_text().splitlines()]
    records = sealed(derived=True, condition_step=None)
    (pictures / "metadata.jsonl").write_text("\n".join(json.dumps({**row, "person": ""}) for row in rows))
    few = replace(config, attacks=(*ATTACKS, "direct_identity"))
    figures = audit.run(records, pictures, tmp_path / "out", few, asked=ASKED)
    assert "no `person` column" in figures["person"] and figures["exit_code"] == 2 and figures["passed"] is None
    assert [(gate["name"], gate["unasked"]) for gate in figures["gates"] if gate["passed"] is None] == [
        ("attacks", False),
        ("person", True),
        ("public", False),
    ]  # three of many attacks ran
    open_ = next(gate["found"] for gate in figures["gates"] if gate["name"] == "attacks")
    assert "rmle" in open_ and not {"direct_identity", "pooling"} & set(open_.replace(",", "").split())
    assert figures["attacks"]["direct_identity"]["outcome"] == "not asked"
    assert figures["verdict"]["state"] == "open" and figures["person"] in figures["verdict"]["notes"]
    assert (tmp_path / "out/attack.html").read_text().count(figures["person"]) >= 3
    assert figures["leaks"] == {"Latents": 1} and "Conditions" not in figures["knowledge"]


def test_pictures_of_others_are_refused(sealed, config, tmp_path, home):
    records = sealed()
    others = write_folder(store.distinct("open-peeps", "recombined", 18, 1, seed=5, purpose="test"), tmp_path / "others")
    with pytest.raises(UserError, match="18 of 18 records are of pictures that are not in"):
        audit.run(records, others, tmp_path / "out", config, asked=ASKED)
    assert not (tmp_path / "out").exists()
    (home / "ledger/releases.jsonl").unlink()
    with pytest.raises(UserError, match="of none of the 18 pictures"):
        audit.run(records, others, tmp_path / "out", config, asked=ASKED)
    assert not (tmp_path / "out").exists()


def test_another_base_needs_public_pictures_of_its_kind(base, make_folder, config, tmp_path, home, mini):
    pictures = make_folder(count=12)
    settings = SealSettings(condition="canny", seal_step=100, condition_step=50)
    folder = read_folder(pictures, size=base.size, condition="canny")
    seal(folder, tmp_path / "records", owner="me", codec=base, settings=settings, noise=InsecureNoise(3))
    with pytest.raises(UserError, match="--public FOLDER"):
        audit.run(tmp_path / "records", pictures, tmp_path / "out", AuditConfig(attacks=ATTACKS, base=str(mini)), asked=ASKED)
    public = make_folder("public", count=12, seed=1)
    own = AuditConfig(attacks=ATTACKS, base=str(mini), public=public)
    figures = audit.run(tmp_path / "records", pictures, tmp_path / "out", own, asked=ASKED)
    assert figures["attacks"]["linkage"]["score"] > 0.5 and "not asked" in figures["person"]
    assert next(gate for gate in figures["gates"] if gate["name"] == "person")["passed"] is None


def test_conditions_that_came_with_the_folder_are_scored_as_they_are(base, make_folder, tmp_path, home, mini):
    def paired(name, seed):
        """Pictures, each with a condition of its own: white where the picture is bright."""
        folder = make_folder(name, count=12, seed=seed)
        rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
        for row in rows:
            image = np.asarray(Image.open(folder / row["file_name"]))
            row["conditioning_image_file_name"] = f"c-{row['file_name']}"
            white = np.where(image.mean(axis=-1, keepdims=True) > 127, 255, 0).astype(np.uint8).repeat(3, axis=-1)
            Image.fromarray(white).save(folder / row["conditioning_image_file_name"])
        (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        return folder

    pictures, public = paired("private", 0), paired("public", 1)
    settings = SealSettings(condition="given", seal_step=100, condition_step=50)
    folder = read_folder(pictures, size=base.size, condition="given")
    seal(folder, tmp_path / "records", owner="me", codec=base, settings=settings, noise=InsecureNoise(3))
    own = AuditConfig(attacks=("algebraic", "linear_mmse"), base=str(mini))
    with pytest.raises(UserError, match="--public FOLDER"):
        audit.run(tmp_path / "records", pictures, tmp_path / "out", own, asked=ASKED)
    figures = audit.run(tmp_path / "records", pictures, tmp_path / "out", replace(own, public=public), asked=ASKED)
    targets = figures["attacks"]["linear_mmse"]["pools"]["records"]["targets"]
    assert set(targets) == {"picture", "condition"} and targets["condition"]["n"] == 12
    assert targets["condition"]["beside"]["latent error"] < 1


def test_one_picture_is_too_little_to_say_anything(base, make_folder, tmp_path, home, mini):
    pictures, public = make_folder(count=1), make_folder("public", count=12, seed=1)
    settings = SealSettings(condition="canny", seal_step=100, condition_step=50)
    folder = read_folder(pictures, size=base.size, condition="canny")
    seal(folder, tmp_path / "records", owner="me", codec=base, settings=settings, noise=InsecureNoise(3))
    own = AuditConfig(attacks=("algebraic", "linear_mmse"), base=str(mini), public=public)
    figures = audit.run(tmp_path / "records", pictures, tmp_path / "out", own, asked=ASKED)
    assert figures["exit_code"] == 2 and figures["passed"] is None
    assert all(attack["outcome"] == "failed" and "people" in attack["why"] for attack in figures["attacks"].values())


def test_the_attacker_has_the_controlnet_that_a_server_would_train(sealed, pictures, config, tmp_path, monkeypatch):
    monkeypatch.setattr(cell, "SERVER_STEPS", {"quick": 2})
    monkeypatch.setattr(cell, "choose_precision", lambda: "no")  # a process trains in one precision, and other tests have chosen
    monkeypatch.setitem(matrix.attacks.attack("own_controlnet").STEPS, "quick", 2)
    asked = replace(config, attacks=("own_controlnet:server",))
    found = audit.run(sealed(), pictures, tmp_path / "out", asked, asked={})
    assert found["attacks"]["own_controlnet"]["outcome"] == "scored" and not (tmp_path / "out" / "work").exists()
    derived = sealed("derived", seal_step=700, condition_step=None, derived=True)
    found = audit.run(derived, pictures, tmp_path / "derived-out", asked, asked={})
    assert found["attacks"]["own_controlnet"]["why"] == "no Conditions"


@pytest.mark.parametrize(("base", "condition"), [("tiny", "given"), ("some/base", "canny")])
def test_that_public_pictures_are_needed_is_said_before_any_work(tmp_path, monkeypatch, base, condition):
    settings = SealSettings(condition=condition, seal_step=300, condition_step=200)
    monkeypatch.setattr(audit.audit_folder, "check", lambda *a: None)
    monkeypatch.setattr(audit.manifests, "read", lambda folder: type("M", (), {"settings": settings, "release": "r"}))
    monkeypatch.setattr(audit, "load_base", lambda *a, **k: pytest.fail("it was loaded"))
    with pytest.raises(UserError, match="--public FOLDER") as stop:
        audit.run(tmp_path, tmp_path, tmp_path / "out", AuditConfig(base=base), asked=ASKED)
    assert ("condition" in stop.value.expected) is (condition == "given")
