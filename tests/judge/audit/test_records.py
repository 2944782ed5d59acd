"""Signed records that lie: each is refuted by whoever the table says can see it; honest ones are refuted by nobody."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.core.randomness import InsecureNoise, SecureNoise
from sfumato.defences.pipeline import seal
from sfumato.diffusion.base import load_codec
from sfumato.judge.audit import records as audit
from sfumato.judge.audit.records import ANYBODY, FORGERIES, NOBODY, OWNER
from sfumato.records import manifest as manifests
from sfumato.records import privacy, reader
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest
from sfumato.records.record import SealSettings

ROOT = Path(__file__).parents[3]
COUNT = 24
PLAIN = SealSettings(condition="canny", seal_step=600, condition_step=200)
CLIPPED = replace(PLAIN, clip=1.0, condition_clip=1.0)
MUCH = replace(CLIPPED, seal_step=780, condition_step=780)


@pytest.fixture(scope="module")
def codec():
    return load_codec("tiny")


@pytest.fixture(scope="module")
def truth(codec):
    """Latents of pictures and of their edges ``(COUNT, 4, 16, 16)``."""
    from sfumato.core import registry
    from sfumato.pictures import store

    images = store.load("open-peeps", "public", COUNT, seed=3).images
    edges = np.stack([registry.get("conditions", "canny").extract(image) for image in images])
    return codec.encode_pixels(images), codec.encode_pixels(edges)


@pytest.fixture
def signed(tmp_path, codec):
    """Write latents as a signed release that claims ``settings``, and read it back: ``(claim, rows)`` of each field."""

    def go(z_n, c_m, settings, *, secure=True):
        folder, key = tmp_path / "release", Ed25519PrivateKey.generate()
        folder.mkdir()
        rounded = [values.half() if settings.bits == 16 else (values * 16).round().clamp(-128, 127).to(torch.int8) for values in (z_n, c_m)]
        entry, data = shards.pack(dict(zip(settings.fields, rounded, strict=False)))
        (folder / entry.file).write_bytes(data)
        stated = privacy.statement(privacy.releases(settings, codec.schedule, secure=secure))
        manifests.write(
            Manifest(
                owner="forger", public_key=manifests.public_hex(key), release="0" * 32, shape=codec.latent_shape, settings=settings,
                base={"name": codec.public_name, "fingerprint": codec.fingerprint}, shards=(entry,), privacy=stated, secure_noise=secure,
                version="0.1.0",
            ),
            folder, key,
        )  # fmt: skip
        records = reader.load([folder], codec=codec)
        claims = audit.claims(privacy.entries(records.manifests[0].privacy), settings)
        return list(zip(claims, (records.z_n, records.c_m), strict=False))

    return go


class Forger:
    """Noised latents by hand: ``z(...)`` and ``c(...)`` with a step, a clip, noise of one's own and its strength."""

    def __init__(self, codec, truth):
        self.schedule, self.truth = codec.schedule, truth
        self.draws = torch.Generator().manual_seed(20261128)  # none of the seeds that are tried

    def noise(self):
        return torch.randn(self.truth[0].shape, generator=self.draws)

    def noised(self, part, step, clip=None, eps=None, strength=1.0):
        z = self.truth[part] * (1.0 if clip is None else (clip / self.truth[part].flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1))
        eps = self.noise() if eps is None else eps
        return (self.schedule.alpha(step) * z + strength * self.schedule.sigma(step) * eps).float()

    def z(self, step=600, clip=None, eps=None, strength=1.0):
        return self.noised(0, step, clip, eps, strength)

    def c(self, step=200, clip=None, eps=None, strength=1.0):
        return self.noised(1, step, clip, eps, strength)

    def one_unclipped(self, settings):
        """The first, whose norm is 30: 6 sigma above the clip of 1 at step 780, 45 at step 400."""
        z_n = self.z(settings.seal_step, settings.clip)
        z_n[0] = self.z(settings.seal_step)[0]
        return z_n, self.c(settings.condition_step, settings.condition_clip), settings

    def again(self, change):
        eps = self.noise()
        change(eps)
        return self.z(eps=eps), self.c(), PLAIN


def seeded(source):
    return lambda f: (f.z(eps=source(f.truth[0].shape)), f.c(), PLAIN)


def shared_noise(f):
    eps = f.noise()
    return f.z(eps=eps), f.c(eps=eps), PLAIN


def known_seed(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


FORGED = {
    "bare latents": lambda f: (f.truth[0], f.c(900, 1.0), replace(CLIPPED, seal_step=900, condition_step=900)),
    "bare conditions": lambda f: (f.z(), f.truth[1], PLAIN),
    "bare latents as int8": lambda f: (f.truth[0], f.c(), replace(PLAIN, bits=8)),
    "half the noise": lambda f: (f.z(strength=0.5), f.c(), PLAIN),
    "a lower step": lambda f: (f.z(400), f.c(), PLAIN),
    "noise twice": lambda f: f.again(lambda eps: eps[3].copy_(eps[17])),
    "noise of the latent again in its condition": shared_noise,
    "noise alike in all channels": lambda f: f.again(lambda eps: eps.copy_(eps[:, :1].expand_as(eps).clone())),
    "a known seed": seeded(known_seed),
    "noise that is not Gaussian": lambda f: f.again(lambda eps: eps.uniform_(-(3**0.5), 3**0.5, generator=f.draws)),
    "no clip at all": lambda f: (f.z(), f.c(), CLIPPED),
    "one clip ignored by far": lambda f: f.one_unclipped(replace(CLIPPED, seal_step=400)),
    "one clip ignored by some sigma": lambda f: f.one_unclipped(MUCH),
    "noise shared in part": lambda f: f.again(lambda eps: eps[3].mul_(0.9).add_(0.435 * eps[17])),
    "more noise than claimed": lambda f: (f.z(strength=1.2), f.c(), PLAIN),
    "a clip missed by little": lambda f: (f.z(900, 3.0), f.c(900, 1.0), replace(CLIPPED, seal_step=900, condition_step=900)),
    "a secret seed": lambda f: (f.z(), f.c(), PLAIN),
    "releases that are not counted": lambda f: (f.z(), f.c(), PLAIN),
}


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_is_refuted_by_whoever_can_see_it(signed, codec, truth, forgery):
    fields = signed(*FORGED[forgery.name](Forger(codec, truth)))
    by_anybody = audit.anybody(fields, seeds=3)
    with_truth = [(claim, rows, clean) for (claim, rows), clean in zip(fields, truth, strict=True)]
    by_owner = audit.owner(with_truth, index=np.arange(COUNT))
    assert by_anybody["tested"] and by_owner["tested"]
    assert by_anybody["refuted"] == (forgery.seen_by == ANYBODY)
    if forgery.seen_by != ANYBODY:
        assert by_owner["refuted"] == (forgery.seen_by == OWNER)


def test_every_forgery_is_tested_and_written_down():
    assert set(FORGED) == {forgery.name for forgery in FORGERIES} and {forgery.seen_by for forgery in FORGERIES} == {ANYBODY, OWNER, NOBODY}
    rows = (ROOT / "docs/concepts/threat_model.md").read_text().splitlines()
    for forgery in FORGERIES:
        assert f"| {forgery.name} | {forgery.seen_by} | {forgery.how} |" in rows


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (lambda shape: torch.from_numpy(np.random.default_rng(2).standard_normal(shape)), "default_rng(2)"),
        (lambda shape: torch.from_numpy(np.random.RandomState(1).standard_normal(shape)), "numpy.random.seed(1)"),
        (lambda shape: torch.stack([torch.randn(shape[1:], generator=torch.Generator().manual_seed(k)) for k in range(shape[0])]), "torch"),
        (lambda shape: InsecureNoise(2).normal(shape), "InsecureNoise(2)"),
        (lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(12345)), "torch.manual_seed(12345)"),
    ],
)
def test_noise_of_a_seed_that_anybody_may_try_is_named(signed, codec, truth, source, named):
    found = audit.anybody(signed(*seeded(source)(Forger(codec, truth))), seeds=3)
    row = next(row for row in found["tests"] if row["name"] == "known seeds")
    assert row["refuted"] and named in row["where"]


@pytest.mark.parametrize(
    "settings",
    [
        PLAIN, replace(PLAIN, bits=8), replace(PLAIN, clip=20.0, condition_clip=20.0), replace(CLIPPED, seal_step=900, condition_step=900),
        SealSettings(condition="canny", seal_step=800, condition_step=None, derived=True),
        SealSettings(condition="canny", seal_step=900, condition_step=None, derived=True, bits=8, clip=5.0),
        replace(PLAIN, seal_step=200, condition_step=100, bits=8), replace(MUCH, seal_step=998, condition_step=999),
        replace(PLAIN, condition_step=None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [2, COUNT])
def test_honest_records_are_refuted_by_nobody(codec, truth, settings, count):
    """What the recipe ``honest_audits`` does at length, for the whole false-alarm rate."""
    from sfumato.records.record import restore

    sealed = seal(truth[0][:count], truth[1][:count], settings, codec.schedule, noise=SecureNoise())
    claims = audit.claims(list(privacy.releases(settings, codec.schedule)), settings)
    fields = [(claim, restore(sealed[claim.field]), clean) for claim, clean in zip(claims, truth, strict=False)]
    found = audit.anybody([(claim, rows) for claim, rows, _ in fields], seeds=3), audit.owner(fields, index=np.arange(count))
    for part in found:
        assert part["tested"] and not part["refuted"]
        assert all(0 <= row["p"] <= 1 and row["looked_at"] > 0 for row in part["tests"])
    assert any("bare" in line for line in found[0]["untested"]) == (settings.condition_step is None and not settings.derived)


def test_an_owner_without_a_ledger_finds_the_pictures_where_they_lie_apart(codec, truth):
    z_n = codec.schedule.alpha(400) * truth[0] + codec.schedule.sigma(400) * torch.randn(truth[0].shape)
    order = torch.randperm(COUNT)
    claim = audit.claims(list(privacy.releases(replace(PLAIN, seal_step=400), codec.schedule)), PLAIN)[0]
    found = audit.owner([(claim, z_n[order].float(), truth[0])])
    assert found["tested"] and not found["refuted"]
    near = audit.owner([(replace(claim, alpha=0.01, sigma=0.99995), torch.randn(truth[0].shape), truth[0])])
    assert not near["tested"] and "is not known" in near["untested"][0]


def test_all_bare_as_claimed_is_not_tested_and_not_refuted(truth, codec):
    settings = replace(PLAIN, seal_step=None, condition_step=None)
    claims = audit.claims(list(privacy.releases(settings, codec.schedule)), settings)
    found = audit.anybody(list(zip(claims, truth, strict=True)))
    assert not found["tested"] and not found["refuted"] and len(found["untested"]) == 2
