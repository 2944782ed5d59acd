"""``attack`` on records that were sealed in any way, whatever the attacks do: the page is written, and what was not tested is said."""

import html
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Latents, Noise
from sfumato.attacker.records.base import Guess
from sfumato.core.artifact import read_json
from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.judge import gates
from sfumato.judge.audit import matching
from sfumato.owner.folder import read_folder
from sfumato.owner.seal import seal
from sfumato.records import reader
from sfumato.records.record import SealSettings
from sfumato.studies.records import audit, audited, cell, matrix, people
from sfumato.studies.records.audit import AuditConfig

BROKEN = "averaging"  # it is made to raise
ATTACKS = ("algebraic", "linear_mmse", "linkage:exact", "direct_identity", "pooling:records", "text_inversion", "fsha", BROKEN)
ASKED = {"attacks": {}, "structure": {"forbidden": ["Noise"]}, "algebraic": {}, "person": {"times_prior": 3.0}}
WAYS = {
    "as ever": {},
    "derived": {"derived": True, "condition_step": None},
    "no persons": {"persons": False},
    "no captions": {"captions": False},
    "some persons": {"persons": "some"},
    "supplied conditions": {"condition": "given"},
    "two releases": {"releases": 2},
    "int8": {"bits": 8},
    "clipped": {"clip": 20.0, "condition_clip": 20.0},
    "not sealed": {"seal_step": None, "condition_step": None},
    "strokes": {"condition": "scribble"},
    "a trial of what was released, its conditions supplied, some persons": {
        "condition": "given",
        "persons": "some",
        "releases": 2,
        "trial": True,
    },
    "two releases of derived ones, nobody": {"derived": True, "condition_step": None, "persons": False, "releases": 2},
    "derived, int8, nobody, no captions": {"derived": True, "condition_step": None, "bits": 8, "persons": False, "captions": False},
}


@pytest.fixture
def small(monkeypatch):
    drawn = people.prior
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **{**how, "drawn": 2}))


@pytest.fixture
def sealed(base, make_folder, tmp_path, home, mini, small):
    """Records of 12 little pictures, sealed in some way, and an audit of them."""

    def folder(name, seed, *, given, persons, captions):
        made = make_folder(name, count=12, seed=seed)
        rows = [json.loads(line) for line in (made / "metadata.jsonl").read_text().splitlines()]
        for number, row in enumerate(rows):
            if persons and (persons is True or number % 2):
                row["person"] = f"person {number // 2}"
            if not captions:
                del row["text"]
            if given:
                row["conditioning_image_file_name"] = f"c-{row['file_name']}"
                image = np.asarray(Image.open(made / row["file_name"]))
                Image.fromarray(np.where(image > 127, 255, 0).astype(np.uint8)).save(made / row["conditioning_image_file_name"])
        (made / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return made

    def go(*, persons=True, captions=True, releases=1, trial=False, **how):
        settings = SealSettings(**{"condition": "canny", "seal_step": 100, "condition_step": 50, **how})
        told = {"given": settings.condition == "given", "persons": persons, "captions": captions}
        pictures, public = folder("pictures", 0, **told), folder("public", 1, **told)
        listed = read_folder(pictures, size=base.size, condition=settings.condition)
        for number in range(releases):
            records = tmp_path / f"records-{number}"
            noise = InsecureNoise(number)
            last = number == releases - 1
            seal(listed, records, owner="me", codec=base, settings=settings, noise=noise, allow_rerelease=True, trial=trial and last)
        config = AuditConfig(attacks=ATTACKS, base=str(mini), public=public)
        return records, pictures, config

    return go


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_seal_ends_in_a_page_whatever_one_attack_does(sealed, tmp_path, monkeypatch, way):
    records, pictures, config = sealed(**WAYS[way])
    out, honest = tmp_path / "out", matrix.attacks.attempt

    def attempt(row, scenario, **how):
        if row == BROKEN:
            raise StopIteration
        return honest(row, scenario, **how)

    monkeypatch.setattr(matrix.attacks, "attempt", attempt)
    figures = audit.run(records, pictures, out, config, asked=ASKED)
    page = (out / "attack.html").read_text()
    cells = {name.partition("/")[2]: scores for name, scores in figures["cells"].items()}
    assert set(cells) == set(ATTACKS) and (out / "attack.png").exists()
    assert cells[BROKEN]["outcome"] == "failed" and "StopIteration" in page
    assert cells["algebraic"]["outcome"] == cells["linear_mmse"]["outcome"] == cells["linkage:exact"]["outcome"] == "scored"
    assert figures["attacks"]["linkage"]["score"] > 0.5
    nobody = WAYS[way].get("persons", True) is False
    for row in ("direct_identity", "pooling:records"):  # this base's people cannot be told apart
        assert cells[row]["outcome"] == ("not asked" if nobody else "not tested") and cells[row]["why"] in html.unescape(page)
    assert cells["fsha"]["outcome"] == "no channel"
    assert cells["text_inversion"]["outcome"] == ("no channel" if WAYS[way].get("captions", True) else "not asked")
    held = {gate["name"]: gate["passed"] for gate in figures["gates"]}
    assert held["person"] is None and held["attacks"] is None
    assert {gate["name"] for gate in figures["gates"] if gate["unasked"]} == ({"person"} if nobody else set())
    assert held["structure"] is (WAYS[way].get("releases", 1) == 1)
    assert figures["exit_code"] == (1 if False in held.values() else 2)
    assert ("no persons in the folder" in page) is nobody
    assert read_json(out / "attack.json", what="audit")["gates"] == figures["gates"]


def test_a_folder_that_names_nobody_can_pass_the_gates_that_ship(sealed, make_folder, tmp_path, monkeypatch):
    """Whatever is after people and captions alone has nothing to ask there, at any effort, and holds nothing open."""
    records, pictures, config = sealed(derived=True, condition_step=None, persons=False, captions=False)
    public = make_folder("many", count=60, seed=0)
    ran = []

    def attack(scenario, row, base, work, **how):
        ran.append(row)
        return Guess(z_0=scenario[Latents].z[0]), scenario

    def score(answer, truths, priors, base, **how):
        got = {"score": 0.3, "low": 0.29, "high": 0.31, "prior_only": 0.3, "difference": [0.0, -0.01, 0.01], "chance": 0.1, "p": 1.0}
        got |= {"n": 400, "people": 400, "beside": {"latent error": 1.0}}
        return {"outcome": "scored", "pools": {"records": {"picture": dict(got), "condition": dict(got)}}}

    monkeypatch.setattr(cell, "attack", attack)
    monkeypatch.setattr(cell, "score", score)
    figures = audit.run(records, pictures, tmp_path / "out", replace(config, attacks=(), public=public), asked=gates.thresholds())
    assert "rmle" in ran and not any(row.startswith(("direct_identity", "pooling", "text_inversion")) for row in ran)
    assert figures["exit_code"] == 0 and figures["passed"] is True and figures["verdict"]["state"] == "passed"
    held = {gate["name"]: gate["passed"] for gate in figures["gates"]}
    assert held == {"attacks": True, "structure": True, "algebraic": True, "person": None, "picture": True, "condition": True}
    page = (tmp_path / "out/attack.html").read_text()
    assert figures["verdict"]["headline"] in page and audited.NO_PEOPLE in figures["verdict"]["notes"]
    assert "person" in figures["verdict"]["headline"]


def misbehaving(row, scenario, **how):
    """Attacks that do each something else; the first is honest."""
    n = scenario[Latents].z.shape[1]
    z = torch.zeros(scenario[Latents].z.shape[1:])
    raised = {
        "averaging": StopIteration(), "diffusion_prior:mean": KeyError("z"), "diffusion_prior:ddim": MemoryError(),
        "diffusion_prior:sample": SystemExit(0), "fsha": AssertionError(), "unsplit": RecursionError(),
    }  # fmt: skip
    if row in raised:
        raise raised[row]
    answers = {
        "algebraic": Guess(z_0=scenario[Latents].z[0], budget={"work": z}, curve=[(1.0, float("nan"))]),
        "direct_identity": Guess(embeddings=np.ones((n, 3), np.float32), embed=lambda images: np.ones((len(images), 3), np.float32)),
        "diffusion_prior:best": None, "diffusion_prior:tuned": Guess(), "gradient_inversion": Guess(z_0=z[:0]),
        "inverse_network": Guess(z_0=z + torch.nan), "linear_mmse": Guess(z_0=z[:, :, :1]), "linkage:exact": Guess(scores=torch.ones(n, 1)),
        "linkage:jpeg": Guess(scores=torch.ones(n + 5, 12)), "rmle": Guess(images=np.zeros((n, 5, 5, 3), np.uint8)),
        "query_free": Guess(images=np.zeros((n, 32, 32, 4), np.uint8)), "text_inversion": NoChannel((Noise,)),
        "own_controlnet:server": Guess(c=z[..., :1]),
    }  # fmt: skip
    return answers.get(row, Guess(prompts=["x"] * (n - 1)))


def test_whatever_one_attack_does_the_page_is_written_and_the_others_go_on(sealed, tmp_path, monkeypatch):
    records, pictures, config = sealed()
    monkeypatch.setattr(matrix.attacks, "attempt", misbehaving)
    out = tmp_path / "out"
    figures = audit.run(records, pictures, out, replace(config, attacks=()), asked=ASKED)
    cells = {name.partition("/")[2]: scores for name, scores in figures["cells"].items()}
    assert set(cells) == set(matrix.attacks.rows()) and cells["algebraic"]["outcome"] == "scored"
    assert cells["text_inversion"]["outcome"] == "no channel" and cells["direct_identity"]["outcome"] == "not tested"
    odd = ("averaging", "diffusion_prior:mean", "diffusion_prior:ddim", "diffusion_prior:sample", "diffusion_prior:best", "fsha", "unsplit",
           "diffusion_prior:tuned", "gradient_inversion", "inverse_network", "linear_mmse", "rmle", "query_free")  # fmt: skip
    assert {cells[row]["outcome"] for row in odd} == {"failed"} and all(cells[row]["why"] for row in odd)
    page = (out / "attack.html").read_text()
    assert "StopIteration" in page and "MemoryError" in page
    kept = read_json(out / "attack.json", what="audit")  # nothing in it that JSON has not
    assert kept["exit_code"] == figures["exit_code"] == 2 and not (out / "work").exists()
    monkeypatch.setattr(matrix.attacks, "attempt", lambda *a, **k: pytest.fail("it ran again"))
    assert audit.run(records, pictures, out, replace(config, attacks=()), asked=ASKED)["gates"] == figures["gates"]


def test_a_judge_that_fails_on_an_answer_is_no_end_either(sealed, tmp_path, monkeypatch):
    records, pictures, config = sealed(derived=True, condition_step=None)
    score = matrix.guesses.score

    def broken(guess, *a, **how):
        if guess.scores is not None:
            raise IndexError("of the judge")
        return score(guess, *a, **how)

    monkeypatch.setattr(matrix.guesses, "score", broken)
    monkeypatch.setattr(cell, "show", lambda *a: 1 / 0)
    figures = audit.run(records, pictures, tmp_path / "out", config, asked=ASKED)
    linkage = figures["cells"]["records/linkage:exact"]
    assert linkage["outcome"] == "failed" and "IndexError: of the judge" in linkage["why"]
    assert figures["cells"]["records/algebraic"]["outcome"] == "scored" and (tmp_path / "out" / "attack.html").exists()


def test_what_a_glance_leaves_out_is_listed_and_gates_that_rest_on_it_are_not_tested(sealed, tmp_path, monkeypatch):
    records, pictures, config = sealed()
    for row in ATTACKS:
        monkeypatch.setitem(matrix.attacks.attack(row.partition(":")[0]).COUNT, "glance", 5)
    monkeypatch.delitem(matrix.attacks.attack("linear_mmse").COUNT, "glance")
    asked = {"attacks": {}, "picture": {"at_most": 2.0}, "algebraic": {}, "structure": {}}
    figures = audit.run(records, pictures, tmp_path / "out", replace(config, effort="glance"), asked=asked)
    assert figures["cells"]["records/linear_mmse"]["outcome"] == "left out"
    assert figures["cells"]["records/algebraic"]["pools"]["records"]["picture"]["n"] == 5
    held = {gate["name"]: gate for gate in figures["gates"]}
    assert [held[name]["passed"] for name in ("attacks", "picture", "algebraic", "structure")] == [None, None, None, True]
    page = (tmp_path / "out" / "attack.html").read_text()
    assert "left out at this effort" in page and "linear_mmse" in held["attacks"]["found"]


def test_of_many_records_a_random_part_is_audited_and_that_is_said(sealed, tmp_path, monkeypatch):
    records, pictures, config = sealed()
    monkeypatch.setitem(audited.AUDITED, "quick", 6)
    monkeypatch.setattr(audited, "HELD", 8)
    monkeypatch.setattr(audited, "BLOCK", 5)
    monkeypatch.setattr(audited, "LATENTS", 0)  # latents are not kept from the matching
    config = replace(config, attacks=("algebraic", "linkage:exact"))
    figures = audit.run(records, pictures, tmp_path / "out", config, asked=ASKED)
    assert (figures["audited"], figures["records"], figures["candidates"], figures["pictures"]) == (6, 12, 8, 12)
    assert figures["attacks"]["linkage"]["n"] == figures["attacks"]["algebraic"]["n"] == 6
    assert figures["attacks"]["linkage"]["chance"] == 1 / 8 and figures["attacks"]["linkage"]["score"] > 0.5
    assert "6 of 12 records, drawn at random" in (tmp_path / "out" / "attack.html").read_text()


def test_the_part_and_its_pictures_are_the_right_ones(sealed, base, monkeypatch):
    records, folder, _ = sealed()
    loaded, pictures = reader.load([records], codec=base), audited.Pictures.of(folder, size=base.size, condition="canny")
    everything = audited.audited(loaded, pictures, base, most=99, seed=0)
    assert sorted(everything.own.tolist()) == list(range(12)) and everything.total == 12
    monkeypatch.setattr(audited, "LATENTS", 0)
    monkeypatch.setattr(audited, "BLOCK", 5)
    some, other = (audited.audited(loaded, pictures, base, most=5, seed=seed) for seed in (0, 1))
    index = audited.chosen(12, 5, 0)
    assert (some.own == everything.own[index.numpy()]).all() and torch.equal(some.records.z_n[:], loaded.z_n[index])
    assert some.digest == everything.digest and set(some.own.tolist()) != set(other.own.tolist())
    for numbers in ([3, 1], list(range(12))):  # made again, they are what they were
        for a, b in zip(some.latents(numbers), everything.latents(numbers), strict=True):
            assert torch.allclose(a, b, atol=1e-4)
    truth, held, silent = audited.truth_of(some, seed=0)
    assert (held[truth.candidates] == some.own).all() and (truth.images == pictures.take(some.own.tolist())[0]).all()
    assert "person" in silent.untested and not silent.unasked
    (folder / "secret-3.png").write_bytes(b"no picture")
    assert 3 not in audited.audited(loaded.take(torch.tensor([i for i in range(12) if everything.own[i] != 3])), pictures, base, most=5,
                                    seed=0).readable  # fmt: skip


def test_under_any_noise_records_find_their_pictures_by_the_private_ledger(sealed, base, home, monkeypatch):
    """At step 998 nothing of a picture is left to match: the ledger knows, and without it nobody does."""
    records, folder, _ = sealed(seal_step=998, derived=True, condition_step=None)
    loaded, pictures = reader.load([records], codec=base), audited.Pictures.of(folder, size=base.size, condition="canny")
    order = np.array(InsecureNoise(0).permutation(12))
    for latents in (audited.LATENTS, 0):
        monkeypatch.setattr(audited, "LATENTS", latents)
        found = audited.audited(loaded, pictures, base, most=99, seed=0)
        part = audited.audited(loaded, pictures, base, most=5, seed=1)
        assert found.by == part.by == audited.LEDGER and (found.own == order).all()
        assert (part.own == order[audited.chosen(12, 5, 1).numpy()]).all()
        assert part.digest == found.digest and len(found.readable) == 12
    (home / "ledger/releases.jsonl").rename(home / "ledger/elsewhere.jsonl")
    with pytest.raises(UserError, match="look as much like another"):
        audited.audited(loaded, pictures, base, most=99, seed=0)


def test_a_folder_that_lacks_a_sealed_picture_is_refused_by_the_ledger(sealed, base):
    records, folder, _ = sealed()
    loaded = reader.load([records], codec=base)
    with Image.open(folder / "secret-0.png") as image:  # another file, the same pixels: it is known
        image.save(folder / "secret-0.png", compress_level=0)
    pictures = audited.Pictures.of(folder, size=base.size, condition="canny")
    assert sorted(audited.audited(loaded, pictures, base, most=99, seed=0).own.tolist()) == list(range(12))
    Image.new("RGB", (32, 32), "red").save(folder / "secret-3.png")
    with pytest.raises(UserError, match="1 of 12 records are of pictures that are not in"):
        audited.audited(loaded, pictures, base, most=99, seed=0)


def test_the_attackers_know_no_more_with_the_ledger_than_without(sealed, tmp_path, home, monkeypatch):
    """The scenario that attacks are handed is the same, bit for bit, whether the ledger or likelihood told which record is which."""
    records, pictures, config = sealed()
    config, handed = replace(config, attacks=("algebraic",)), []

    def spied(row, scenario, **how):
        handed.append({kind.__name__: scenario[kind] for kind in scenario.kinds()})
        return Guess(z_0=scenario[Latents].z[0])

    monkeypatch.setattr(matrix.attacks, "attempt", spied)
    by = [audit.run(records, pictures, tmp_path / "a", config, asked=ASKED)["matched"]]
    (home / "ledger/releases.jsonl").unlink()
    by.append(audit.run(records, pictures, tmp_path / "b", config, asked=ASKED)["matched"])
    assert by == ["ledger", "likelihood"] and handed[0].keys() == handed[1].keys()
    assert torch.equal(handed[0]["Latents"].z, handed[1]["Latents"].z) and not any("own" in name.lower() for name in handed[0])
    assert torch.equal(handed[0]["Candidates"].z_0, handed[1]["Candidates"].z_0)  # in the folder's order, not the records'
    assert "read from your private ledger" in (tmp_path / "a/attack.html").read_text()
    assert "found by likelihood" in (tmp_path / "b/attack.html").read_text()


def test_records_are_matched_a_block_at_a_time(sealed, base, home, monkeypatch):
    records, folder, _ = sealed()
    (home / "ledger/releases.jsonl").unlink()  # as on a machine that did not seal them
    monkeypatch.setattr(audited, "BLOCK", 4)
    seen, match = [], matching.match

    def spied(fields, blocks, schedule):
        seen.extend(len(block[0]) for block in blocks())
        return match(fields, blocks, schedule)

    monkeypatch.setattr(matching, "match", spied)
    pictures = audited.Pictures.of(folder, size=base.size, condition="canny")
    audited.audited(reader.load([records], codec=base), pictures, base, most=3, seed=0)
    assert seen == [4, 4, 4]
