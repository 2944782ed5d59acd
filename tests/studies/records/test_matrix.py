"""The matrix: cells are kept and not run twice, what failed is never safe, verdicts are corrected over all of them."""

import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
import torch

from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Latents, Noise, Scenario
from sfumato.attacker.records.base import Guess
from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.features.identity import half
from sfumato.judge.metrics.identity import Gallery
from sfumato.studies.records import cell, matrix, people
from sfumato.studies.records.matrix import MatrixConfig


@pytest.fixture
def small(monkeypatch):
    """Galleries of a few people."""
    of = Gallery.of
    monkeypatch.setattr(matrix.guesses.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
    drawn = people.prior
    probes = people._probes
    monkeypatch.setattr(people, "_probes", lambda seed: probes(seed, count=120))
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **how, drawn=4))
    return MatrixConfig(
        schemes=("oneway", "sealed"), attacks=("algebraic", "linear_mmse", "fsha", "averaging"), people=6, each=2,
        public=6, public_each=2,
    )  # fmt: skip


def test_the_matrix_tells_what_leaks_and_goes_on_where_it_stopped(small, tmp_path, monkeypatch):
    figures = matrix.run(small, tmp_path)
    assert set(figures["cells"]) == {f"{s}/{a}" for s in small.schemes for a in small.attacks}
    one_way, sealed = figures["matrix"]["oneway"], figures["matrix"]["sealed"]
    solved = one_way["algebraic"]["pools"]["recombined"]
    assert set(one_way["algebraic"]["pools"]) == {"recombined", "unseen_part"}
    assert solved["score"] > 0.8 > solved["prior_only"] and solved["p"] < 0.05 and solved["targets"]["person"]["chance"] == 1 / 6
    beside = solved["targets"]["picture"]["beside"]
    assert beside["skin"] > beside["skin by the prior"] and 0 <= beside["hair by the prior"] <= 1
    assert not solved["effective"]  # six people are too few to survive the correction: nothing is claimed of them
    assert sealed["algebraic"]["pools"]["recombined"]["score"] < solved["score"]
    ceiling = figures["ceiling"]["recombined"]
    assert ceiling["condition"]["beside"]["latent error"] == 0 and solved["score"] == pytest.approx(ceiling["picture"]["score"], abs=0.02)
    assert solved["targets"]["picture"]["beside"]["latent error"] < 1e-3  # z_0 is solved for, at every t
    assert one_way["averaging"]["outcome"] == "scored" and sealed["averaging"]["why"] == "no Releases"
    nothing = dict.fromkeys(("effective", "score", "low", "high", "prior_only", "chance", "n"))
    assert sealed["fsha"] == {**nothing, "target": "condition", "outcome": "no channel", "why": "no GradientChannel", "seconds": 0.0,
                              "pools": {}}  # fmt: skip
    every = [t for s in figures["matrix"].values() for a in s.values() for p in a["pools"].values() for t in p["targets"].values()]
    assert len(every) == 2 * 3 * 5  # pools, targets, and of eight cells those five that found something
    assert all(test["adjusted_p"] >= test["p"] for test in every)

    assert "| fsha | no GradientChannel |" in (tmp_path / "matrix.md").read_text()
    assert (tmp_path / "matrix-oneway.png").exists() and "send gradients back" in (tmp_path / "matrix.html").read_text()
    kept = json.loads((tmp_path / "matrix.json").read_text())
    del kept["cells"]["sealed/algebraic"]
    (tmp_path / "matrix.json").write_text(json.dumps(kept))
    asked = []
    attempt = matrix.attacks.attempt
    monkeypatch.setattr(matrix.attacks, "attempt", lambda row, *a, **k: asked.append(row) or attempt(row, *a, **k))
    again = matrix.run(small, tmp_path)
    assert asked == ["algebraic"]
    assert again["cells"]["sealed/algebraic"]["pools"] == figures["cells"]["sealed/algebraic"]["pools"]
    with pytest.raises(UserError, match="other settings"):
        matrix.run(MatrixConfig(people=9, each=2), tmp_path)


def test_the_attackers_people_are_not_the_judges_and_victims_are_not_in_their_own_gallery(small):
    base = load_base()
    public = people.attackers(base, small.public, small.public_each, condition=small.condition, seed=small.seed)
    assert all(half(person) == 1 for person in public.identities) and len(set(public.identities)) == small.public
    private, truths, priors, (candidates, labels) = people.victims(
        base, public, small.pools, small.people, small.each, condition=small.condition, seed=small.seed
    )
    assert not set(private.identities) & set(public.identities) and list(truths) == list(small.pools)
    for place, truth in enumerate(truths.values()):
        shown = {image.tobytes() for image in truth.gallery[0]}
        assert not any(image.tobytes() in shown for image in truth.images)
        assert len(set(truth.people[: small.people])) == small.people  # the first records show different people
        assert truth.people == private.identities[place :: len(truths)] and (truth.images == private.images[place :: len(truths)]).all()
        assert (private.images[truth.candidates] == truth.images).all() and len(candidates.z_0) == len(private.images)
    assert set(candidates.like) == set(matrix.attacks.attack("linkage").LIKE)
    made = {name: make().z_0 for name, make in candidates.like.items()}
    far = {name: float((z_0 - candidates.z_0[: len(z_0)]).square().mean()) for name, z_0 in made.items()}
    assert 0 < far["jpeg"] < far["cropped"] < far["another"] * 1.5
    own = private.identities[: len(candidates.like["another"]().z_0)]
    assert len(own) == len(set(own)) == 2 * small.people  # held once for each person, so that only the right record is a hit
    assert all(prior.drawn.shape == prior.mean.shape == truths[pool].images.shape for pool, prior in priors.items())
    assert len(set(labels.groups.tolist())) == 2 * small.people


def test_what_failed_is_said_and_never_counted_as_safe():
    lacking = cell.score(NoChannel((Noise,)), {}, {}, None, condition="canny", seed=0)
    failed = cell.score(Failed("diverged: its z_0 holds NaN or infinity"), {}, {}, None, condition="canny", seed=0)
    assert lacking == {"outcome": "no channel", "why": "no Noise"} and failed["outcome"] == "failed"
    table = matrix.table({"sealed/rmle": failed, "sealed/fsha": lacking})
    assert table["sealed"]["rmle"]["why"].startswith("diverged") and table["sealed"]["rmle"]["pools"] == {}


def test_processes_share_the_cells_and_find_the_same(small, tmp_path):
    asked = replace(small, attacks=("fsha", "averaging", "unsplit"), schemes=("sealed", "sealed-derived"))
    for name in ("one", "two"):  # what a world costs is not what is tested: nothing here has a channel, and the ceiling is there
        (tmp_path / name).mkdir()
    first = matrix.run(asked, tmp_path / "one")
    (tmp_path / "two" / "matrix.json").write_text(json.dumps({k: first[k] for k in ("settings", "ceiling")} | {"cells": {}}))
    told = []
    second = matrix.run(asked, tmp_path / "two", jobs=2, tell=lambda *what: told.append(what))
    assert list(second["cells"].items()) == list(first["cells"].items()) and len(first["cells"]) == 6  # in the same order, too
    assert second["leaks"] == first["leaks"]
    assert sorted(number for _, number, _ in told) == list(range(7)) and {total for *_, total in told} == {6}
    assert "averaging on sealed" in {what for what, *_ in told}


def test_who_asks_what_another_has_said_is_in_its_process():
    wanted = [matrix.CEILING, *((s, r) for s in ("oneway", "sealed") for r in ("algebraic", "direct_identity", "pooling:records"))]
    units = matrix.units(wanted)
    assert [pair for unit in units for pair in unit] == wanted and len(units) == 5
    assert [("sealed", "direct_identity"), ("sealed", "pooling:records")] in units


def test_a_killed_process_is_named_and_what_was_found_stays(small, tmp_path, monkeypatch):
    class Pool:
        def __init__(self, jobs, **how):
            self.left = [[{"outcome": "no channel", "why": "no Noise", "leaked": {}}]]

        def __enter__(self):
            return self

        def __exit__(self, *how):
            return False

        def submit(self, *how):
            future = Future()
            future.set_result(self.left.pop()) if self.left else future.set_exception(BrokenProcessPool())
            return future

        def shutdown(self, **how):
            self.closed = how

    monkeypatch.setattr(matrix, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(matrix, "as_completed", list)
    asked = replace(small, attacks=("averaging", "algebraic"), schemes=("sealed",))
    empty = matrix.run(replace(asked, attacks=("fsha",)), tmp_path)
    with pytest.raises(UserError, match="killed") as raised:
        matrix.run(asked, tmp_path, jobs=2)
    assert "fewer --jobs" in str(raised.value)
    kept = json.loads((tmp_path / "matrix.json").read_text())["cells"]
    assert set(kept) == {*empty["cells"], "sealed/averaging"}


def test_an_attack_is_effective_against_what_its_row_says():
    def found(score, p):
        return {"score": score, "low": score, "high": score, "prior_only": 0.3, "chance": 0.1, "difference": [score - 0.3] * 3, "p": p,
                "n": 99, "people": 99}  # fmt: skip

    cells = {"sealed/algebraic": {"outcome": "scored", "pools": {"a": {"picture": found(0.2, 1.0), "condition": found(0.9, 1e-4)}}}}
    entry = matrix.table(cells)["sealed"]["algebraic"]
    assert entry["target"] == "picture" and entry["effective"] is False and entry["effective_targets"] == ["condition"]


def test_a_one_way_server_trains_too(small, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(cell, "train", lambda records, *a, **k: seen.update(records=records) or tmp_path)
    monkeypatch.setattr(cell, "load_latent_controlnet", lambda *a, **k: (None, {}))
    base = load_base()
    c = torch.randn((6, *base.latent_shape), generator=torch.Generator().manual_seed(0))
    private = matrix.scenarios.Private(None, torch.zeros_like(c), c, [""] * 6, [])
    known = matrix.scenarios.scenario("oneway", private, base, None, seed=0, activation="identity")
    assert len(cell.server_trains(known, base, tmp_path / "w", condition="canny", effort="quick", seed=0)) == 1
    assert torch.allclose(seen["records"].c_m, c, atol=0.02) and (seen["records"].m == -1).all() and (seen["records"].n >= 0).all()
    assert cell.server_trains(Scenario(Latents(c[None], torch.zeros(1, 6, dtype=torch.int64))), base, tmp_path, condition="canny",
                                 effort="quick", seed=0) == []  # fmt: skip


def test_names_are_checked_before_anything_is_drawn():
    for wrong in ({"schemes": ("telepathy",)}, {"attacks": ("wishing",)}, {"pools": ("public",)}):
        with pytest.raises(UserError, match="unknown"):
            MatrixConfig(**wrong)
    assert isinstance(Guess(), Guess) and MatrixConfig().people >= 200


def test_the_server_uses_what_it_has_just_trained(small, tmp_path, monkeypatch):
    monkeypatch.setattr(cell, "SERVER_STEPS", {"quick": 2})
    monkeypatch.setattr(cell, "choose_precision", lambda: "no")  # a process trains in one precision, and other tests have chosen
    monkeypatch.setitem(matrix.attacks.attack("own_controlnet").STEPS, "quick", 2)
    asked = replace(small, schemes=("sealed", "sealed-derived"), attacks=("own_controlnet:server",))
    table = matrix.run(asked, tmp_path)["matrix"]
    assert table["sealed"]["own_controlnet"]["variants"]["server"]["outcome"] == "scored"
    assert table["sealed-derived"]["own_controlnet"]["why"] == "no Conditions" and not (tmp_path / "work").exists()


@pytest.mark.parametrize(("wanted", "tried"), [(0, 200), (10, 200), (500, 500)])
def test_an_attack_takes_what_it_can_afford_or_as_many_as_are_wanted(monkeypatch, tmp_path, wanted, tried):
    latents = Latents(torch.zeros(1, 600, 4, 2, 2), torch.zeros(1, 600, dtype=torch.int64))
    seen = []
    monkeypatch.setattr(matrix.attacks, "attempt", lambda row, scenario, **how: seen.append(scenario[Latents].z.shape[1]) or Guess())
    how = {"condition": "canny", "effort": "quick", "seed": 0, "tell": lambda done, total: None}
    cell.attack(Scenario(latents), "diffusion_prior:ddim", load_base(), tmp_path, records=wanted, **how)
    assert seen == [tried]
