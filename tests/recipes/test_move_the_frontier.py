"""Ways to move the frontier: each does to latents what it says, is trained on and attacked as one, and a second run goes on."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.attacker.knowledge import Conditions, Latents, Public
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base, load_base
from sfumato.judge.metrics.adherence import edges_of
from sfumato.judge.metrics.identity import Gallery
from sfumato.pictures import store
from sfumato.server import derive, generate
from sfumato.studies.records import matrix, people
from sfumato.studies.records.scenarios import Private
from tests_support import few_steps, load_recipe


@pytest.fixture(scope="module")
def recipe() -> Any:
    return load_recipe("move_the_frontier")


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base()


@pytest.fixture(scope="module")
def public(base: Base) -> Public:
    drawn = store.load("open-peeps", "public", 24, seed=3)
    z_0, c = people.latents_of(base, drawn.images, "canny")
    return Public(drawn.images, z_0, c, drawn.identities, drawn.captions)


def test_edges_of_pictures_with_more_noise_agree_less_with_the_true_ones(recipe: Any, base: Base, public: Public) -> None:
    z_0, c = public.z_0[:8], public.c[:8]
    silent = recipe.noised_first(0)(base, public, z_0, c, generator(0))
    assert silent[0] is z_0
    edges = edges_of(base.decode_pixels(z_0), "canny")
    assert torch.equal(silent[1], recipe._maps(base, edges))
    apart = [
        float((recipe.noised_first(level)(base, public, z_0, c, generator(0))[1] - silent[1]).square().mean()) for level in (4, 16, 64)
    ]
    assert 0 < apart[0] < apart[1] < apart[2]


def test_blurred_conditions_are_the_low_pass_of_what_they_decode_to(recipe: Any, base: Base, public: Public) -> None:
    z_0, c = recipe.blurred(2)(base, public, public.z_0[:4], public.c[:4], generator(0))
    assert torch.equal(z_0, public.z_0[:4])
    plain, low = (base.decode_pixels(some).astype(float) for some in (public.c[:4], c))
    assert np.abs(np.diff(low, axis=2)).mean() < 0.5 * np.abs(np.diff(plain, axis=2)).mean()
    assert low.mean() == pytest.approx(plain.mean(), rel=0.3)  # the VAE gives grey edges back a little brighter


def test_coarse_conditions_are_canny_of_the_half_size(recipe: Any, base: Base, public: Public) -> None:
    _, c = recipe.coarse(base, public, public.z_0[:2], public.c[:2], generator(0))
    picture = Image.fromarray(base.decode_pixels(public.z_0[:1])[0])
    small = np.asarray(picture.resize((base.size // 2,) * 2, Image.Resampling.BOX))
    edges = np.kron(edges_of(small[None], "canny")[0], np.ones((2, 2), bool))
    assert torch.allclose(c[:1], recipe._maps(base, edges[None]), atol=1e-4)


@pytest.mark.parametrize("rank", [2, 8])
def test_projection_keeps_the_public_mean_and_leaves_only_so_many_directions(recipe: Any, base: Base, public: Public, rank: int) -> None:
    before = recipe.projected(rank)
    z, c = before(base, public, public.z_0, public.c, generator(0))
    assert c is public.c and torch.allclose(z.mean(0), public.z_0.mean(0), atol=1e-4)
    assert int(torch.linalg.matrix_rank((z - z.mean(0)).flatten(1), atol=1e-3)) == rank
    assert torch.allclose(before(base, public, z, c, generator(0))[0], z, atol=1e-4)  # what is projected stays


def test_a_projection_on_everything_changes_nothing(recipe: Any, base: Base, public: Public) -> None:
    z, _ = recipe.projected(23)(base, public, public.z_0, public.c, generator(0))  # 24 pictures span 23 directions around their mean
    assert torch.allclose(z, public.z_0, atol=1e-3)


def test_what_leaves_is_noised_after_the_way_and_is_what_the_server_trains_on(recipe: Any, base: Base, public: Public) -> None:
    way = recipe.Way(before=recipe.projected(2), condition_step=100)
    left = recipe.sealing(way, base, public, 700)(public.z_0, public.c, generator(0))
    latents, conditions = left.get(Latents), left.get(Conditions)
    assert latents is not None and conditions is not None
    records = recipe.records_of(left)
    assert torch.equal(records.z_n, latents.z[0]) and torch.equal(records.c_m, conditions.c[0])
    assert set(records.n.tolist()) == {700} and set(records.m.tolist()) == {100}
    z, _ = way.before(base, public, public.z_0, public.c, generator(0))
    noise = (records.z_n - float(base.schedule.alpha(700)) * z) / float(base.schedule.sigma(700))
    assert float(noise.std()) == pytest.approx(1, abs=0.03) and float(noise.mean()) == pytest.approx(0, abs=0.03)


def test_the_best_attack_is_named_and_failures_are_not_cells(recipe: Any) -> None:
    cell = {"score": 0.1, "low": 0.0, "high": 0.2, "n": 5, "chance": 0.005}
    found = {"a": {"p": cell, "q": {**cell, "score": 0.3}}, "b": "diverged", "c": {"p": None}}
    assert recipe.best(found) == {**cell, "score": 0.3, "attack": "a, q"}
    with pytest.raises(SystemExit, match="no proof of safety"):
        recipe.best({"b": "diverged"})


def test_attackers_know_the_way(recipe: Any, base: Base, public: Public, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that are learned from as they are went the same way as the records; those that the mechanism treats did not go it twice."""
    seen: dict[str, Public] = {}
    monkeypatch.setattr(recipe.cell, "attack", lambda known, row, *a, **k: (seen.update({row: known[Public]}), None))
    monkeypatch.setattr(recipe.cell, "score", lambda *a, **k: {"why": "nothing"})
    args = Namespace(people=2, each=1, seed=0, seal_step=600, work=tmp_path)
    victims = Private(public.images, public.z_0, public.c, [], []), {}, {}, []
    recipe.recognised(recipe.Way(before=recipe.blurred(2)), base, public, lambda: victims, args, ("linear_mmse", "direct_identity"))
    assert torch.equal(seen["direct_identity"].c, public.c) and torch.equal(seen["linear_mmse"].z_0, public.z_0)
    (treated,) = recipe.blurred(2)(base, public, public.z_0, public.c, generator(0))[1:]
    assert torch.allclose(seen["linear_mmse"].c, treated, atol=1e-4) and not torch.allclose(treated, public.c, atol=1e-2)


def test_ways_are_measured_once_and_the_rest_goes_on_where_it_stopped(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    few_steps(monkeypatch, generate, derive)
    of, drawn, probes = Gallery.of, people.prior, people._probes
    monkeypatch.setattr(matrix.guesses.Gallery, "of", lambda *a, **k: of(*a, **{**k, "minimum": 2}))
    monkeypatch.setattr(people, "_probes", lambda seed: probes(seed, count=120))
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **how, drawn=4))
    args = Namespace(
        json=tmp_path / "moved.json", work=tmp_path / "work", seal_step=600, pictures=4, steps=1, conditions=2, people=2, each=1, public=4,
        seed=0,
    )  # fmt: skip
    ways = {recipe.PLAIN: recipe.Way(), "64": recipe.Way(before=recipe.projected(4)), "mixed": recipe.Way(public=True, residuals="above n")}
    recipe.run(args, ways, ("linear_mmse",))
    rows = json.loads(args.json.read_text())["ways"]
    assert set(rows[recipe.PLAIN]) == {"own", "shifted", "people", "seconds"} == set(rows["64"])
    assert set(rows["mixed"]) == {"own", "shifted", "seconds"}  # what leaves is what leaves under plain sealing
    assert set(rows["64"]["own"]["shown"]) == {"as they are", "as those of the records"}
    assert rows[recipe.PLAIN]["people"]["linear_mmse"]["recombined"]["n"] == 2

    kept = json.loads(args.json.read_text())
    del kept["ways"]["mixed"]["own"]
    args.json.write_text(json.dumps(kept))
    recipe.run(args, ways, ("linear_mmse",))
    again = json.loads(args.json.read_text())["ways"]
    assert again["64"] == rows["64"] and "own" in again["mixed"]
    args.steps = 2
    with pytest.raises(SystemExit, match="other settings"):
        recipe.run(args, ways, ("linear_mmse",))
