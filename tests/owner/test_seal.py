import json
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from forked import ends, seal_on, started
from sfumato.core.errors import PrivacyError, UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.owner import release_folder
from sfumato.owner import seal as sealing
from sfumato.owner.folder import read_folder
from sfumato.owner.release_ledger import ReleaseLedger
from sfumato.records import manifest as manifests
from sfumato.records import reader
from sfumato.records import shard as shards
from sfumato.records.record import SealSettings
from tests_support import KILLS

SETTINGS = SealSettings(condition="canny", seal_step=600, condition_step=200)


@pytest.fixture
def run(base, home, tmp_path):
    """Seal a folder for an owner."""

    def go(folder, out="records", owner="alice", settings=SETTINGS, **arguments):
        pictures = read_folder(folder, size=32, condition=settings.condition)
        return sealing.seal(pictures, tmp_path / out, owner=owner, codec=base, settings=settings, **arguments)

    return go


def test_records_are_the_latents_noised_as_declared(run, make_folder, base, tmp_path):
    clean = SealSettings(condition="canny", seal_step=None, condition_step=None)
    run(make_folder(count=40), settings=clean, out="clean", owner="clean")
    run(tmp_path / "private", out="sealed", allow_rerelease=True)
    z_0, z_n = (reader.load([tmp_path / out], codec=base).z_n[:] for out in ("clean", "sealed"))
    assert z_0.shape == z_n.shape == (40, 4, 8, 8)
    wanted = base.schedule.alpha(600) ** 2 * z_0.square().mean() + base.schedule.sigma(600) ** 2
    assert float(z_n.square().mean()) == pytest.approx(float(wanted), rel=0.1)


def test_nothing_private_is_in_what_leaves(run, make_folder, tmp_path):
    run(make_folder())
    everything = b"".join(p.read_bytes() for p in (tmp_path / "records").iterdir())
    for secret in (b"secret-", b"caption-of", str(tmp_path).encode()):
        assert secret not in everything


def test_order_is_secret_and_complete(run, make_folder, base, tmp_path):
    settings = SealSettings(condition="canny", seal_step=None, condition_step=None)
    run(make_folder(count=30), settings=settings)
    folder = read_folder(tmp_path / "private", size=32, condition="canny")
    pixels = np.stack([folder.load(e).image for e in folder])
    truth = base.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1).half().float()
    got = reader.load([tmp_path / "records"], codec=base).z_n[:]
    nearest = torch.cdist(got.flatten(1), truth.flatten(1)).argmin(dim=1).tolist()
    assert sorted(nearest) == list(range(30)) and nearest != list(range(30))


def test_a_second_release_is_refused_unless_told(run, make_folder):
    folder = make_folder()
    assert run(folder).manifest.privacy["releases"] == 1
    with pytest.raises(PrivacyError, match="released before"):
        run(folder, out="again")
    with pytest.raises(PrivacyError, match="released before"):
        run(folder, out="again", owner="bob")
    assert run(folder, out="again", allow_rerelease=True).manifest.privacy["releases"] == 2


def test_the_largest_person_is_counted_and_stays_at_home(run, make_folder, tmp_path, home):
    folder = make_folder(count=6)

    def say(*people):
        rows = [json.dumps({"file_name": f"secret-{i}.png", "person": person}) for i, person in enumerate(people)]
        (folder / "metadata.jsonl").write_text("\n".join(rows))

    say("", "", "", "", "", "")
    assert run(folder).person is None
    say("a", "b", "a", "c", "a", "b")
    summary = run(folder)
    assert summary.person == 3 and release_folder.person_of(summary.manifest.release, home / "ledger") == 3
    say("a", "b", "a", "c", "", "")  # who is not named may be anybody
    assert run(folder).person == 4
    say("a", "b", "c", "d", "e", "f")  # records of an earlier run are there still
    assert run(folder).person == 4 and release_folder.person_of("0" * 32, home / "ledger") is None
    assert "person" not in (tmp_path / "records/manifest.json").read_text()


def test_a_second_run_into_the_same_folder_draws_nothing(run, make_folder, tmp_path):
    folder = make_folder()
    run(folder)
    before = {p.name: p.read_bytes() for p in (tmp_path / "records").iterdir()}
    summary = run(folder)
    assert summary.sealed == 0 and summary.resumed == 10
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "records").iterdir()}


def test_added_pictures_go_into_a_new_shard(run, make_folder, tmp_path):
    folder = make_folder(count=4)
    run(folder)
    extra = np.full((32, 32, 3), 77, np.uint8)
    Image.fromarray(extra).save(folder / "new.png")
    with (folder / "metadata.jsonl").open("a") as file:
        file.write('\n{"file_name": "new.png"}')
    summary = run(folder)
    assert summary.sealed == 1 and summary.manifest.records == 5


def test_the_same_picture_twice_is_sealed_once(run, make_folder):
    folder = make_folder(count=3)
    with Image.open(folder / "secret-0.png") as image:
        image.save(folder / "copy.png")
    with (folder / "metadata.jsonl").open("a") as file:
        file.write('\n{"file_name": "copy.png"}')
    summary = run(folder)
    assert summary.duplicates == 1 and summary.manifest.records == 3


def test_a_bad_picture_is_named_and_the_rest_goes_on(run, make_folder):
    folder = make_folder()
    (folder / "secret-3.png").write_bytes(b"not a picture")
    summary = run(folder)
    assert summary.manifest.records == 9 and "secret-3.png" in summary.skipped[0]


def test_other_settings_in_the_same_folder_are_refused(run, make_folder):
    folder = make_folder()
    run(folder)
    with pytest.raises(UserError, match="other settings"):
        run(folder, settings=SealSettings(condition="canny", seal_step=400, condition_step=200))


def test_a_lost_shard_is_not_sealed_again(run, make_folder, tmp_path):
    folder = make_folder()
    run(folder)
    next((tmp_path / "records").glob("*.safetensors")).unlink()
    with pytest.raises(PrivacyError, match="is gone"):
        run(folder)


def test_privacy_is_none_without_clip_and_exact_with(run, make_folder, base, tmp_path):
    none = run(make_folder()).manifest.privacy
    assert (none["guarantee"], none["why"], none["releases"]) == ("none", "the picture has no clip; the condition has no clip", 1)
    both = SealSettings(condition="canny", seal_step=900, condition_step=900, clip=8.0, condition_clip=8.0)
    privacy = run(make_folder("b", seed=1), out="b-records", settings=both).manifest.privacy
    one = float(base.schedule.alpha(900) / base.schedule.sigma(900)) * 16
    assert privacy["mu"] == pytest.approx(2**0.5 * one) and privacy["relation"] == "replace-one" and privacy["releases"] == 1
    seeded = run(make_folder("c", seed=2), out="c-records", settings=both, noise=InsecureNoise(0)).manifest
    assert seeded.privacy["guarantee"] == "none" and not seeded.secure_noise
    later = run(tmp_path / "c", out="d-records", settings=both, allow_rerelease=True).manifest.privacy
    assert later["guarantee"] == "none" and "noise from a seed" in later["why"]  # the first draw can be made again


def test_shards_never_wait_on_another_disk(run, make_folder, tmp_path, monkeypatch, home):
    monkeypatch.setattr(release_folder, "_disk", lambda folder: folder.name)
    with pytest.raises(UserError, match="disk of its own") as refused:
        run(make_folder())
    assert str(tmp_path / "records/records") in refused.value.fix
    assert not (home / "ledger/releases.jsonl").exists() and not (tmp_path / ".records.sealing").exists()
    monkeypatch.undo()
    monkeypatch.setenv("SFUMATO_HOME", str(home))
    assert run(make_folder("b", seed=1)).manifest.records  # nothing stands in the way of the next one


def test_a_manifest_that_a_kill_left_half_written_does_not_stay(run, make_folder, tmp_path):
    folder = make_folder()
    run(folder)
    (tmp_path / "records/.manifest.json.x.partial").write_text("{")
    run(folder)
    assert not list((tmp_path / "records").glob(".*"))


def test_a_full_disk_leaves_nothing_half_written(run, make_folder, tmp_path, monkeypatch):
    real = os.fsync

    def full(handle):
        if os.readlink(f"/proc/self/fd/{handle}").endswith(".safetensors"):
            raise OSError(28, "No space left on device")
        real(handle)

    folder = make_folder()
    monkeypatch.setattr(release_folder.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        run(folder)
    assert not list((tmp_path / "records").iterdir()) and not list((tmp_path / ".records.sealing").iterdir())
    monkeypatch.undo()


def test_killed_at_random_moments_there_is_no_second_draw(mini, make_folder, tmp_path, home):
    """kill -9 until it gets through: shards only ever appear, byte-identical, and each picture is drawn once."""
    folder = make_folder(count=30 * KILLS)
    out = tmp_path / "records"
    seen: dict[str, bytes] = {}
    draw = np.random.default_rng(0)
    kills = 0
    while True:
        with started(seal_on, str(mini), folder, out, str(home)) as (process, here):
            if kills < KILLS:
                for _ in range(draw.integers(0, 25)):
                    here.recv()
                time.sleep(draw.uniform(0, 0.02))
                process.kill()
            said = ends(process, here)
        kills += process.exitcode == -signal.SIGKILL
        present = {p.name: p.read_bytes() for p in out.glob("*.safetensors")}
        assert all(present.get(name) == data for name, data in seen.items())
        seen = present
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, said
    assert kills == KILLS
    lines = [json.loads(line) for line in (home / "ledger/releases.jsonl").read_text().splitlines()]
    drawn = Counter(picture for line in lines for picture in line["pictures"])
    assert set(drawn.values()) == {1} and len(drawn) == 30 * KILLS
    manifest = manifests.read(out)
    assert [line["sha256"] for line in lines] == [shard.sha256 for shard in manifest.shards] and manifest.records == 30 * KILLS
    assert not (tmp_path / ".records.sealing").exists()


@pytest.mark.parametrize("moment", ["write_aside", "append", "replace", "write"])
def test_killed_at_each_write_nothing_is_drawn_twice(run, make_folder, tmp_path, monkeypatch, home, moment):
    """Stop right after each kind of write in turn, then run again."""

    class Killed(BaseException):
        pass

    folder = make_folder(count=6)
    targets = {"write_aside": (release_folder, "write_aside"), "append": (ReleaseLedger, "append"), "replace": (sealing.os, "replace"),
               "write": (manifests, "write")}  # fmt: skip
    owner, name = targets[moment]
    real = getattr(owner, name)
    monkeypatch.setattr(sealing, "SHARD_RECORDS", 3)

    def then_die(*arguments, **named):
        real(*arguments, **named)
        if moment != "replace" or str(arguments[1]).endswith(".safetensors"):
            raise Killed

    monkeypatch.setattr(owner, name, then_die)
    with pytest.raises(Killed):
        run(folder)
    before = {p.name: p.read_bytes() for p in (tmp_path / "records").glob("*.safetensors")}
    monkeypatch.setattr(owner, name, real)
    manifest = run(folder).manifest
    lines = [json.loads(line) for line in (home / "ledger/releases.jsonl").read_text().splitlines()]
    drawn = Counter(picture for line in lines for picture in line["pictures"])
    assert len(drawn) == 6 == manifest.records and set(drawn.values()) == {1}
    assert all((tmp_path / "records" / name).read_bytes() == data for name, data in before.items())
    assert {p.name for p in (tmp_path / "records").iterdir()} == {"manifest.json", *(s.file for s in manifest.shards)}


def test_records_never_meet_another_ledger(run, make_folder, tmp_path):
    folder = make_folder()
    run(folder)
    with pytest.raises(UserError, match="not a release in this ledger"):
        run(folder, store=tmp_path / "elsewhere")
    with pytest.raises(UserError, match="another owner"):
        run(folder, owner="bob")
    (tmp_path / "records" / ("0" * 64 + ".safetensors")).write_bytes(b"x")
    with pytest.raises(PrivacyError, match="not in this ledger"):
        run(folder)


def test_insecure_noise_cannot_become_secure(run, make_folder):
    folder = make_folder()
    run(folder, noise=InsecureNoise(0))
    with pytest.raises(UserError, match="other settings"):
        run(folder)


def test_a_recoded_copy_is_the_same_picture(run, make_folder, tmp_path):
    run(make_folder(count=2))
    copy = tmp_path / "copy"
    copy.mkdir()
    with Image.open(tmp_path / "private" / "secret-0.png") as image:
        image.save(copy / "other-name.bmp")
    with pytest.raises(PrivacyError, match="other-name"):
        run(copy, out="copy-records")


def test_the_statement_is_of_the_picture_that_was_released_most():
    assert sealing._worst([[1.0, 6.0], [1.0, 2.0, 6.0, 2.0]], 6.0) == (3.0, 3)
    assert sealing._worst([[5.0, 6.0], [1.0, 6.0, 1.0]], 6.0) == (5.0, 1)  # the count of the one that is meant, not of another
    assert sealing._worst([[6.0], [6.0]], 6.0) == (0.0, 0) and sealing._worst([[6.0, 5.0], [6.0, 1.0, None]], 6.0) == (None, 2)
    assert sealing._worst([[None, 1.0]], None) == (1.0, 1) and sealing._worst([[6.0, 6.0]], 6.0) == (6.0, 1)


def test_a_condition_that_goes_with_several_pictures_is_counted(run, make_folder):
    both = SealSettings(condition="given", seal_step=900, condition_step=900, clip=8.0, condition_clip=8.0)
    folder, rows = make_folder(count=3), []
    for i in range(3):
        Image.new("RGB", (32, 32), "white" if i < 2 else "black").save(folder / f"edges-{i}.png")
        rows.append(json.dumps({"file_name": f"secret-{i}.png", "conditioning_image_file_name": f"edges-{i}.png"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows[1:]))
    once = run(folder, settings=both).manifest.privacy
    assert once["releases"] == 1
    (folder / "metadata.jsonl").write_text(rows[0])
    again = run(folder, settings=both, out="more").manifest.privacy  # another picture, so not refused, but a condition seen before
    assert again["releases"] == 2 and again["mu"] == pytest.approx(2**0.5 * once["mu"])
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    both_now = run(folder, settings=both, out="third", allow_rerelease=True).manifest.privacy
    assert both_now["releases"] == 4  # the white one: once, once more, and twice now


def test_nothing_of_a_derived_condition_leaves(run, make_folder, base, tmp_path, monkeypatch):
    settings = SealSettings(condition="canny", seal_step=600, condition_step=None, derived=True)
    manifest = run(make_folder(), settings=settings).manifest
    assert set(shards.read(tmp_path / "records", manifest.shards[0], manifest)) == {"z_n"}
    assert manifest.bytes_per_picture < 1.2 * 2 * 4 * 8 * 8 and reader.load([tmp_path / "records"], codec=base).derived
    pixels = []
    monkeypatch.setattr(type(base), "encode_pixels", lambda self, images: pixels.append(len(images)) or torch.zeros(len(images), 4, 8, 8))
    run(make_folder("other", count=5, seed=1), settings=settings, out="other-records")
    assert pixels == [5]  # nor is a condition encoded
    with pytest.raises(UserError, match="derived"):
        sealing._check_steps(SealSettings(condition="given", seal_step=600, condition_step=None, derived=True), base)


def test_int8_is_half_the_bytes_and_rounds_after_the_noise(run, make_folder, base, tmp_path):
    sizes, values = {}, {}
    for bits in (16, 8):
        settings = SealSettings(condition="canny", seal_step=600, condition_step=200, bits=bits)
        sizes[bits] = run(make_folder(f"f{bits}", count=40), settings=settings, out=f"r{bits}", owner=f"o{bits}", allow_rerelease=True)
        values[bits] = reader.load([tmp_path / f"r{bits}"], codec=base)
    assert sizes[8].manifest.bytes_per_picture < 0.56 * sizes[16].manifest.bytes_per_picture
    for name in ("z_n", "c_m"):
        assert float(getattr(values[8], name)[:].var()) == pytest.approx(
            float(getattr(values[16], name)[:].var()) + 1 / (6 * 16**2), rel=0.1
        )
    z_n = values[8].z_n[:]
    assert float((z_n * 16 - (z_n * 16).round()).abs().max()) == 0


def test_releases_compose(run, make_folder):
    both = SealSettings(condition="canny", seal_step=900, condition_step=900, clip=8.0, condition_clip=8.0)
    folder = make_folder()
    first = run(folder, settings=both).manifest.privacy
    second = run(folder, settings=both, out="again", allow_rerelease=True).manifest.privacy
    assert second["mu"] == pytest.approx(2**0.5 * first["mu"]) and second["releases"] == 2
    run(make_folder("c", seed=3), out="c-records")
    third = run(tmp := folder.parent / "c", settings=both, out="d", allow_rerelease=True).manifest.privacy
    assert tmp.exists() and third["guarantee"] == "none" and "an earlier release" in third["why"]


def test_the_last_step_is_refused_before_anything_is_drawn(run, make_folder, tmp_path):
    with pytest.raises(UserError, match="998"):
        run(make_folder(), settings=SealSettings(condition="canny", seal_step=999, condition_step=0))
    assert not (tmp_path / "records").exists()


def test_a_lost_ledger_key_is_not_replaced(run, make_folder, home):
    folder = make_folder()
    run(folder)
    (home / "ledger" / "ledger.key").unlink()
    with pytest.raises(UserError, match="backup"):
        run(folder)


@pytest.mark.parametrize("name", ["ledger/releases.jsonl", "ledger/ledger.key", "owners/alice/signing.key"])
def test_nothing_is_sealed_beside_what_cannot_be_read(run, make_folder, tmp_path, home, name):
    run(make_folder(count=2))
    (home / name).write_bytes(b"damaged\n")
    with pytest.raises(UserError, match=name.rsplit("/", 1)[1]):
        run(make_folder("other", count=2, seed=1), out="other-records")
    assert not (tmp_path / "other-records").exists() and (home / name).read_bytes() == b"damaged\n"


def test_what_is_sealed_in_part_is_counted(run, make_folder):
    folder = make_folder(count=2)
    Image.fromarray(np.random.default_rng(5).integers(0, 255, (32, 50, 3), dtype=np.uint8)).save(folder / "secret-1.png")
    assert run(folder).cropped == 1
    assert run(folder).cropped == 0  # of those that were sealed now
