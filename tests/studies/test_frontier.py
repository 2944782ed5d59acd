"""The frontier: points join what a scheme is worth with what leaks there, presets are chosen among them and hold for their base."""

import pytest

from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.records import presets
from sfumato.studies import compare, frontier, redteam
from sfumato.studies.frontier import FrontierConfig


def cell(score, high, *, prior=0.01):
    return {"score": score, "low": score / 2, "high": high, "n": 100, "chance": 0.005, "prior_only": prior}


def attack(**pools):
    return {"outcome": "scored", "pools": {pool: {"targets": {"person": found}} for pool, found in pools.items()}}


def adherence(mean):
    return {"adherence": {"mean": mean, "low": mean - 0.03, "high": mean + 0.03, "n": 200}}


def test_a_point_shows_the_attack_that_recognises_most_in_any_variant_and_pool():
    variants = {"mean": attack(a=cell(0.1, 0.12), b=cell(0.3, 0.4)), "best": attack(a=cell(0.2, 0.6))}
    attacks = {
        "diffusion_prior": {**variants["best"], "variants": variants},
        "pooling": attack(a=cell(0.02, 0.05, prior=0.03)),
        "linkage": {"outcome": "scored", "pools": {"a": {"targets": {"candidate": {}}}}},
    }
    found = frontier.point(adherence(0.7), attacks)
    assert found["person"]["attack"] == "diffusion_prior:mean, b" and found["person"]["score"] == 0.3
    assert found["person"]["bound"] == 0.6 and found["person"]["floor"] == 0.03 and found["failed"] == []
    assert frontier.point(adherence(0.7), {"linkage": attacks["linkage"]})["person"] is None


def points():
    def one(a, bound, **more):
        return {
            **adherence(a),
            "person": {**cell(bound / 2, bound), "attack": "pooling, a", "bound": bound, "floor": 0.01},
            "failed": [],
            **more,
        }

    return {
        "sealed:seal_step=400,condition_step=200": one(0.8, 0.5),
        "sealed:seal_step=800,condition_step=400": one(0.7, 0.1),
        "sealed-derived:seal_step=900": one(0.57, 0.02),
        "sealed:seal_step=900,condition_step=400": one(0.69, 0.01, failed=["rmle"]),
        "oneway:t_min=900": one(0.79, 0.001),
    }


def test_a_level_is_the_safest_sealed_point_that_is_still_good_enough():
    chosen = frontier.choose(points(), centralised=0.8)
    assert {level: found["scheme"] for level, found in chosen.items()} == {
        "low": "sealed:seal_step=400,condition_step=200",
        "medium": "sealed:seal_step=800,condition_step=400",
        "high": "sealed-derived:seal_step=900",
    }  # what an attack failed on is not known to be safe, and one-way records are never a preset
    assert [chosen[level]["met"] for level in ("low", "medium", "high")] == [False, False, True]
    assert frontier.choose(points(), centralised=2.0) == {}


def test_presets_are_installed_for_their_base_alone(home):
    base = load_base()
    figures = {
        "presets": frontier.choose(points(), centralised=0.8),
        "base": base.fingerprint,
        "latent": list(base.latent_shape),
        "command": "x",
    }
    frontier.install(figures)
    high = presets.find("high", base.fingerprint, base.latent_shape, condition="canny")
    assert high.derived and high.seal_step == 900 and high.condition_step is None
    assert presets.find("medium", base.fingerprint, base.latent_shape, condition="canny").condition_step == 400
    with pytest.raises(UserError, match="no preset"):
        frontier.install({**figures, "presets": {}})


def test_both_halves_are_asked_for_the_same_points_and_joined(tmp_path, monkeypatch):
    asked = {}

    def trained(config, out, **how):
        asked["arms"] = config.arms
        rows = {name: adherence(0.7) for name in (*config.arms, "no_control")}
        return {"schemes": rows}

    def attacked(config, out, **how):
        asked["schemes"] = (*asked.get("schemes", ()), *config.schemes)
        asked.setdefault("attacks", []).append(config.attacks)
        return {"matrix": {name: {"pooling": attack(a=cell(0.1, 0.2))} for name in asked["schemes"]}}

    monkeypatch.setattr(compare, "run", trained)
    monkeypatch.setattr(redteam, "run", attacked)
    config = FrontierConfig()
    figures = frontier.run(config, tmp_path)
    assert (
        asked["schemes"] == config.points
        and asked["attacks"] == [frontier.ATTACKS, frontier.SOLVED]
        and asked["arms"] == ("centralised", "public", *config.points)
    )
    assert len(config.points) == 15 + 4 + 8 and set(figures["points"]) == set(config.points)
    assert figures["presets"]["high"]["share_of_centralised"] == pytest.approx(1)
    assert (tmp_path / "frontier.png").stat().st_size > 10_000 and (tmp_path / "frontier.json").exists()


def test_every_point_is_one_that_both_halves_know():
    compare.CompareConfig(arms=FrontierConfig().points)
    redteam.MatrixConfig(schemes=FrontierConfig().points, attacks=FrontierConfig().attacks)
    with pytest.raises(UserError, match="unknown scheme"):
        compare.CompareConfig(arms=("telepathy:n=3",))
