import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from records_support import CODEC, FINGERPRINT, SCHEDULE, release
from sfumato.core.artifact import sha256, to_bytes
from sfumato.core.errors import RecordError, UserError
from sfumato.records import manifest as manifests
from sfumato.records import reader
from sfumato.records import shard as shards
from sfumato.records.manifest import ShardEntry
from sfumato.records.record import SealSettings
from sfumato.records.trust import check_owner, remember_owner


def test_round_trip(tmp_path):
    manifest, _ = release(tmp_path / "a")
    assert manifests.read(tmp_path / "a") == manifest
    records = reader.load([tmp_path / "a"], codec=CODEC)
    assert len(records) == 6 and records.n.tolist() == [600] * 6 and records.m.tolist() == [200] * 6


@pytest.mark.parametrize("standing", ["trial", "withdrawn"])
def test_what_was_not_given_out_is_not_used(tmp_path, standing):
    """The standing is signed as the kind of the file: whoever knows one kind alone, as older versions do, takes no other."""
    manifest, key = release(tmp_path / "a")
    manifests.write(replace(manifest, standing=standing), tmp_path / "a", key)
    path = tmp_path / "a" / manifests.NAME
    body = json.loads(path.read_text())
    assert body["kind"] == f"sfumato-{standing}" and "standing" not in body and manifests.read(tmp_path / "a").standing == standing
    with pytest.raises(RecordError, match=standing) as refused:
        reader.load([tmp_path / "a"], codec=CODEC)
    assert refused.value.fix and refused.value.privacy
    assert len(reader.load([tmp_path / "a"], codec=CODEC, audit=True)) == 6
    path.write_text(json.dumps(body | {"kind": "sfumato-records"}))
    with pytest.raises(RecordError, match="signature"):
        manifests.read(tmp_path / "a")
    for wrong in ({"kind": "sfumato-other"}, {"kind": ["sfumato-records"]}):
        path.write_text(json.dumps(body | wrong))
        with pytest.raises(RecordError, match="not a manifest"):
            manifests.read(tmp_path / "a")
    with pytest.raises(ValueError, match="standing"):
        replace(manifest, standing="whatever")


def test_owners_mix_and_each_record_keeps_its_n(tmp_path):
    release(tmp_path / "a", n=600, m=100)
    release(tmp_path / "b", owner="bob", n=400, m=300)
    records = reader.load([tmp_path / "a", tmp_path / "b"], codec=CODEC).level_conditions(SCHEDULE, seed=0)
    assert sorted(records.n.tolist()) == [400] * 6 + [600] * 6 and set(records.m.tolist()) == {300}


def test_records_without_conditions_say_so_and_do_not_mix_with_others(tmp_path):
    release(tmp_path / "a", derived=True)
    release(tmp_path / "b", owner="bob")
    records = reader.load([tmp_path / "a"], codec=CODEC)
    assert records.derived and not bool(records.c_m.any()) and set(records.m.tolist()) == {-1} and records.take(torch.arange(2)).derived
    for folders in (["a", "b"], ["b", "a"]):
        with pytest.raises(RecordError, match="conditions in it, unlike"):
            reader.load([tmp_path / name for name in folders], codec=CODEC)


@pytest.mark.parametrize(
    "values",
    [{"bits": 4}, {"bits": True}, {"derived": 1}, {"derived": True, "condition_step": 200}, {"derived": True, "condition_clip": 1.0},
     {"derived": True, "seal_step": None}],
)  # fmt: skip
def test_what_no_record_can_be_is_refused(values):
    SealSettings(condition="canny", seal_step=600, condition_step=None, derived=True, bits=8)
    with pytest.raises(ValueError):
        SealSettings(**{"condition": "canny", "seal_step": 600, "condition_step": None, **values})


def test_level_conditions_are_not_noised_again(tmp_path):
    release(tmp_path / "a", m=300)
    records = reader.load([tmp_path / "a"], codec=CODEC)
    assert records.level_conditions(SCHEDULE, seed=0) is records


def test_levelled_conditions_have_the_law_of_the_largest_m(tmp_path):
    many = reader.Records(
        torch.zeros(4000, 4, 4, 4), torch.zeros(4000, 4, 4, 4), torch.zeros(4000).long(), torch.tensor([-1, 300] * 2000), (), ()
    )
    c = many.level_conditions(SCHEDULE, seed=1).c_m
    assert float(c[0::2].std()) == pytest.approx(float(SCHEDULE.sigma(300)), rel=0.02)
    assert torch.equal(c[1::2], many.c_m[1::2])


def edit(path, change):
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.pop("signature"), "unsigned"),
        (lambda b: b["settings"].update(seal_step=10), "signature does not fit"),
        (lambda b: b.update(signature="00" * 64), "signature does not fit"),
        (lambda b: b.update(public_key="zz"), "signature does not fit"),
        (lambda b: b.update(schema=99), "schema 99"),
        (lambda b: b.clear(), "not a manifest"),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_refused(tmp_path, change, message):
    release(tmp_path / "a")
    edit(tmp_path / "a" / "manifest.json", change)
    with pytest.raises(RecordError, match=message):
        manifests.read(tmp_path / "a")


def test_a_missing_or_broken_manifest_says_so(tmp_path):
    with pytest.raises(UserError, match="no manifest"):
        manifests.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not a readable"):
        manifests.read(tmp_path)


def test_a_resigned_manifest_is_refused_once_the_owner_is_known(tmp_path):
    first, _ = release(tmp_path / "a")
    assert all(check_owner(first, store=tmp_path / "home") for _ in range(2))  # looking remembers nothing
    assert remember_owner(first, store=tmp_path / "home") and not remember_owner(first, store=tmp_path / "home")
    second, _ = release(tmp_path / "b")
    with pytest.raises(RecordError, match="expected: the key that this owner used before"):
        check_owner(second, store=tmp_path / "home")


def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_byte(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "reason"), [(damage_half, "cut short"), (damage_byte, "does not match"), (lambda p: p.unlink(), "cannot be read")]
)
def test_a_bad_shard_is_refused_by_name_and_the_rest_goes_on(tmp_path, damage, reason):
    manifest, _ = release(tmp_path / "a")
    bad = manifest.shards[0].file
    damage(tmp_path / "a" / bad)
    records = reader.load([tmp_path / "a"], codec=CODEC)
    assert len(records) == 3 and bad in records.refused[0] and reason in records.refused[0]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda z: z.index_fill(0, torch.tensor([0]), float("nan")), "NaN"),
        (lambda z: z * 1e4, "reaches"),
        (lambda z: z[:, :3], "expected"),
    ],
)
def test_hostile_tensors_are_refused_even_when_signed(tmp_path, broken, reason):
    release(tmp_path / "a", broken=broken)
    with pytest.raises(UserError, match=reason):
        reader.load([tmp_path / "a"], codec=CODEC)


def test_the_wrong_base_and_the_same_release_twice(tmp_path):
    release(tmp_path / "a")
    with pytest.raises(RecordError, match="same --base"):
        reader.load([tmp_path / "a"], codec=SimpleNamespace(**{**vars(CODEC), "fingerprint": "0" * 64}))
    with pytest.raises(RecordError, match="twice"):
        reader.load([tmp_path / "a", tmp_path / "a"], codec=CODEC)


def test_a_shard_under_two_owners_is_used_once(tmp_path):
    release(tmp_path / "a")
    manifest, key = release(tmp_path / "b", owner="bob")
    own = manifests.read(tmp_path / "a").shards
    for entry in own:
        (tmp_path / "b" / entry.file).write_bytes((tmp_path / "a" / entry.file).read_bytes())
    manifests.write(replace(manifest, shards=(*manifest.shards, *own)), tmp_path / "b", key)
    records = reader.load([tmp_path / "a", tmp_path / "b"], codec=CODEC)
    assert len(records) == 12 and len(records.refused) == len(own)
    assert all("the very shard of alice" in line and line.startswith("bob") for line in records.refused)


def test_a_damaged_copy_does_not_shut_out_the_whole_one(tmp_path):
    manifest, key = release(tmp_path / "a")
    whole, _ = release(tmp_path / "b", owner="bob")
    manifests.write(replace(manifest, shards=(*manifest.shards, *whole.shards)), tmp_path / "a", key)  # names bob's, has none of them
    records = reader.load([tmp_path / "a", tmp_path / "b"], codec=CODEC)
    assert len(records) == 12 and all(line.startswith("alice") for line in records.refused)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "0" * 63])
def test_shard_names_cannot_leave_the_folder(name):
    with pytest.raises(RecordError, match="SHA-256"):
        ShardEntry(sha256=name, records=1, bytes=1)


@pytest.mark.parametrize("values", [{"seal_step": -1}, {"seal_step": True}, {"condition_step": 1.5}, {"clip": 0.0}, {"clip": float("inf")}])
def test_senseless_settings_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        SealSettings(**{"condition": "canny", "seal_step": 1, "condition_step": 1, **values})


def test_batches_pass_over_all_records_before_any_comes_again():
    got = torch.cat([reader.batch_index(10, 4, step, seed=3) for step in range(10)]).tolist()
    for epoch in range(4):
        assert sorted(got[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert got[:10] != got[10:20]
    assert np.array_equal(reader.batch_index(10, 4, 7, seed=3), reader.batch_index(10, 4, 7, seed=3))


def test_a_batch_larger_than_the_set():
    index = reader.batch_index(3, 7, 0, seed=0).tolist()
    assert len(index) == 7 and sorted(index[:3]) == sorted(index[3:6]) == [0, 1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.update(owner=["x"]),
        lambda b: b.update(owner="a\nguarantee  epsilon 0.1"),
        lambda b: b.update(base={}),
        lambda b: b.update(base=[]),
        lambda b: b.update(shape=[4, 4, float("inf")]),
        lambda b: b.update(shape=[4, 4]),
        lambda b: b.update(privacy={}),
        lambda b: b.update(privacy={"guarantee": "gaussian-dp", "epsilon": 0.01}),
        lambda b: b["privacy"].update(note="perfectly safe"),
        lambda b: b.update(scheme="oneway"),
        lambda b: b.update(shards=[]),
        lambda b: b.update(extra=1),
        lambda b: b["shards"][0].update(records=2.0),
        lambda b: b["shards"][0].update(bytes=True),
        lambda b: b["settings"].update(clip="5"),
        lambda b: b["settings"].update(seal_step="600"),
        lambda b: b["settings"].update(clip=10**400),
        lambda b: b["settings"].update(condition="canny\x1b[2J"),
        lambda b: b["settings"].update({"\x1b[2J\x1b]0;gone\x07": 1}),
        lambda b: b["base"].update(captions="my neighbour"),
        lambda b: b["base"].update(name="my neighbour, 12 Example Street"),
        lambda b: b["base"].update(name="a/b/c"),
        lambda b: b["base"].update(name="x" * 65),
        lambda b: b["base"].update(name=7),
        lambda b: b["base"].update(fingerprint=["f" * 64]),
        lambda b: b.update(version="a.png 2026-01-01"),
        lambda b: b.update(version=""),
        lambda b: b.update(version="1" * 40),
        lambda b: b.update(release="who-they-are"),
        lambda b: b.update(public_key=b["public_key"] + " "),
        lambda b: b["privacy"]["ledger"][0].update(what="my neighbour"),
        lambda b: b["privacy"]["ledger"][0].update(void="my neighbour"),
        lambda b: b["privacy"]["others"].update(note=1),
    ],
)
def test_a_hostile_manifest_is_refused_even_when_signed(tmp_path, change):
    _, key = release(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    body = json.loads(path.read_text())
    del body["signature"]
    change(body)
    body["signature"] = key.sign(manifests._canonical(json.loads(json.dumps(body)))).hex()
    path.write_text(json.dumps(body))
    with pytest.raises(RecordError) as report:
        manifests.read(tmp_path / "a")
    assert str(report.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("version", ["0", "0.1.0", "0.1.0.dev0", "12.3.4rc1", "1.0.post2.dev3"])
@pytest.mark.parametrize("name", ["tiny", "runwayml/stable-diffusion-v1-5", "base_2.1"])
def test_whatever_versions_and_bases_are_called_is_read(tmp_path, version, name):
    manifest, key = release(tmp_path / "a")
    manifests.write(replace(manifest, version=version, base={"name": name, "fingerprint": FINGERPRINT}), tmp_path / "a", key)
    assert manifests.read(tmp_path / "a").version == version


@pytest.mark.parametrize("name", ["tiny", "my base (v2), Ann's", "Grüße/тест", "...", "", "x" * 300, "-", "a/b/c", "\x1b[2J"])
def test_a_base_folder_of_any_name_can_be_written_down(tmp_path, name):
    manifest, _ = release(tmp_path / "a")
    replace(manifest, base={"name": manifests.base_name(name), "fingerprint": FINGERPRINT})  # is what it takes
    assert manifests.base_name("tiny") == "tiny"


def test_the_same_key_twice_is_refused_before_the_signature_is_looked_at(tmp_path):
    release(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(path.read_text().replace('"privacy":', '"privacy": {"guarantee": "perfectly safe"}, "privacy":', 1))
    with pytest.raises(RecordError, match="twice"):
        manifests.read(tmp_path / "a")


def test_shards_that_an_older_manifest_does_not_list_are_said(tmp_path):
    manifest, key = release(tmp_path / "a")
    manifests.write(replace(manifest, shards=manifest.shards[:1]), tmp_path / "a", key)
    with pytest.raises(RecordError, match="does not list"):
        reader.load([tmp_path / "a"], codec=CODEC)
    assert len(reader.load([tmp_path / "a"], codec=CODEC, ignore_unlisted=True)) == 3


def test_notes_in_a_shard_are_refused(tmp_path):
    manifest, _ = release(tmp_path / "a")
    z = torch.zeros(2, 4, 4, 4).half()
    data = to_bytes({"z_n": z, "c_m": z.clone()}, {"caption": "my neighbour"})
    entry = ShardEntry(sha256=sha256(data), records=2, bytes=len(data))
    (tmp_path / "a" / entry.file).write_bytes(data)
    with pytest.raises(RecordError, match="notes beside"):
        shards.read(tmp_path / "a", entry, manifest)


def test_absurd_files_are_not_read(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"[" * (2**24 + 1))
    with pytest.raises(UserError, match="at most"):
        manifests.read(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"[" * 100_000)
    with pytest.raises(UserError, match="not a readable"):
        manifests.read(tmp_path)


def test_what_does_not_fit_the_base_or_the_others_is_refused(tmp_path):
    release(tmp_path / "a", n=999)
    release(tmp_path / "b", m=1000)
    release(tmp_path / "c")
    for name, message in (("a", "seal step 999"), ("b", "condition step 1000")):
        with pytest.raises(RecordError, match=message):
            reader.load([tmp_path / name], codec=CODEC)
    with pytest.raises(RecordError, match="latents of shape"):
        reader.load([tmp_path / "c"], codec=SimpleNamespace(**{**vars(CODEC), "latent_shape": (4, 8, 8)}))
