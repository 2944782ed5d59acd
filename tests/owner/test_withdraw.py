"""Withdrawn on the owner's word: counted no more, kept as said, refused to whoever cannot know."""

import json
import shutil
import stat

import numpy as np
import pytest

from sfumato.core.errors import PrivacyError, UserError
from sfumato.owner import keys, withdraw
from sfumato.owner import seal as sealing
from sfumato.owner.folder import read_folder
from sfumato.owner.release_ledger import Entry, ReleaseLedger
from sfumato.records import manifest as manifests
from sfumato.records import reader
from sfumato.records.record import SealSettings

BOUNDED = SealSettings(condition="canny", seal_step=900, condition_step=900, clip=8.0, condition_clip=8.0)


@pytest.fixture
def run(base, home, make_folder, tmp_path):
    """Seal one folder of pictures."""
    folder = make_folder(count=4)

    def go(out="records", owner="alice", settings=BOUNDED, **how):
        pictures = read_folder(folder, size=32, condition="canny")
        return sealing.seal(pictures, tmp_path / out, owner=owner, codec=base, settings=settings, **how)

    return go


def kept(home):
    return {path.name: path.read_bytes() for path in (home / "ledger").glob("*.jsonl")}


def test_withdrawn_releases_count_no_more_and_are_said(run, tmp_path, home):
    once = run().manifest.privacy
    twice = run("second", allow_rerelease=True).manifest.privacy
    assert twice["releases"] == 2 and twice["mu"] > once["mu"]
    before = kept(home)
    assert withdraw.withdraw(tmp_path / "records").records == 4
    with pytest.raises(PrivacyError, match="released before"):  # the second one is still out
        run("third")
    withdraw.withdraw(tmp_path / "second")
    third = run("third").manifest.privacy
    assert (third["releases"], third["mu"], third["withdrawn"]) == (1, once["mu"], 2)
    after = kept(home)
    assert after["releases.jsonl"].startswith(before["releases.jsonl"]) and after["withdrawn.jsonl"].count(b"\n") == 2


def test_once_more_changes_nothing(run, tmp_path, home):
    run()
    first = withdraw.withdraw(tmp_path / "records")
    state = kept(home), (tmp_path / "records/manifest.json").read_bytes()
    again = withdraw.withdraw(tmp_path / "records")
    assert not first.before and again.before and again.release == first.release
    assert state == (kept(home), (tmp_path / "records/manifest.json").read_bytes())


def test_what_was_withdrawn_is_marked_and_no_other_seal_goes_into_its_folder(run, tmp_path, base):
    run()
    copy = shutil.copytree(tmp_path / "records", tmp_path / "copy")
    withdraw.withdraw(copy)  # a copy is the same release
    assert manifests.read(copy).standing == "withdrawn" and manifests.read(tmp_path / "records").standing == "release"
    assert len(list(copy.glob("*.safetensors"))) == 1  # nothing was deleted
    with pytest.raises(UserError, match="withdrawn"):
        reader.load([copy], codec=base)
    assert len(reader.load([copy], codec=base, audit=True)) == 4
    with pytest.raises(UserError, match="holds records that were withdrawn") as refused:
        run()
    assert "--delete" in refused.value.fix


def test_records_are_deleted_where_that_is_asked_for_and_nothing_else(run, tmp_path):
    release = run().manifest.release
    (tmp_path / "records/notes.txt").write_text("mine")
    found = withdraw.withdraw(tmp_path / "records", delete=True)
    assert len(found.deleted) == 2 and [path.name for path in (tmp_path / "records").iterdir()] == ["notes.txt"]
    (tmp_path / "records/notes.txt").unlink()
    assert withdraw.withdraw(tmp_path / "records", delete=True).before
    assert not (tmp_path / "records").exists()
    assert run().manifest.release != release


def test_records_that_are_gone_can_be_withdrawn_by_where_they_lay(run, tmp_path):
    release = run().manifest.release
    shutil.rmtree(tmp_path / "records")
    with pytest.raises(PrivacyError, match="is gone"):
        run()
    assert withdraw.withdraw(tmp_path / "records").release == release
    again = run().manifest
    assert again.release != release and again.privacy["releases"] == 1 and again.privacy["withdrawn"] == 1


def test_who_cannot_know_is_refused(run, tmp_path, home):
    run()
    out, elsewhere = tmp_path / "records", tmp_path / "elsewhere"
    for store in (elsewhere, None):
        if store is not None:
            with pytest.raises(UserError, match="no ledger on this machine"):
                withdraw.find(out, store=store)
            assert not store.exists()
    keys.ledger_key(keys.ledger_folder(elsewhere))
    with pytest.raises(UserError, match="whose key is not on this machine"):
        withdraw.withdraw(out, store=elsewhere)
    keys.signing_key(keys.owner_folder("alice", elsewhere))  # another alice
    with pytest.raises(UserError, match="whose key is not on this machine"):
        withdraw.withdraw(out, store=elsewhere)
    shutil.copy(home / "owners/alice/signing.key", elsewhere / "owners/alice/signing.key")
    with pytest.raises(UserError, match="not in the ledger of this machine"):
        withdraw.withdraw(out, store=elsewhere)
    with pytest.raises(UserError, match="no records"):
        withdraw.withdraw(tmp_path / "nowhere")
    run("trial", trial=True)
    with pytest.raises(UserError, match="a trial"):
        withdraw.withdraw(tmp_path / "trial")
    assert manifests.read(out).standing == "release" and not (home / "ledger/withdrawn.jsonl").exists()


@pytest.mark.parametrize("delete", [False, True])
def test_what_cannot_be_marked_or_deleted_is_not_withdrawn(run, tmp_path, home, monkeypatch, delete):
    run()

    def fails(*_, **__):
        raise UserError("no") if not delete else OSError(30, "Read-only file system", "x")

    monkeypatch.setattr(*((withdraw.Path, "unlink") if delete else (withdraw.manifests, "write")), fails)
    with pytest.raises(UserError):
        withdraw.withdraw(tmp_path / "records", delete=delete)
    assert not (home / "ledger/withdrawn.jsonl").exists()
    monkeypatch.undo()
    monkeypatch.setenv("SFUMATO_HOME", str(home))
    assert not withdraw.withdraw(tmp_path / "records", delete=delete).before


def test_a_damaged_word_is_not_taken_for_one(tmp_path):
    ledger = ReleaseLedger(tmp_path, b"k" * 32)
    ledger.append(Entry("r", "a" * 64, 1, 4, ["p"], ["f"], 1.0))
    ledger.withdraw("r", said="so")
    (good,) = (tmp_path / "withdrawn.jsonl").read_text().splitlines()
    assert ReleaseLedger(tmp_path, b"k" * 32).withdrawn == {"r"}
    for line in (good.replace('"r"', "7"), good.replace('"so"', '""'), good.replace(": 1", ": 0"), good.replace("}", ', "x": 1}'), "{}"):
        (tmp_path / "withdrawn.jsonl").write_text(line + "\n")
        with pytest.raises(UserError, match=r"withdrawn\.jsonl: line 1 is damaged"):
            ReleaseLedger(tmp_path, b"k" * 32)
    with pytest.raises(ValueError, match="not counted"):
        ReleaseLedger(tmp_path, b"k" * 32, trials=True).withdraw("r", said="so")


def test_a_trial_is_private_counts_nothing_and_says_what_the_release_would(run, tmp_path, home):
    trial = run("trial", trial=True)
    assert trial.manifest.standing == "trial" and trial.earlier == 0
    assert json.loads((tmp_path / "trial/manifest.json").read_text())["kind"] == "sfumato-trial"  # older versions take no such file
    assert all(
        stat.S_IMODE(p.stat().st_mode) == (0o700 if p.is_dir() else 0o600) for p in (tmp_path / "trial", *(tmp_path / "trial").iterdir())
    )
    assert not (home / "ledger/releases.jsonl").exists()
    real = run().manifest
    assert real.standing == "release" and real.privacy == trial.manifest.privacy and "standing" not in real.body()
    later = run("later", trial=True)
    assert later.earlier == 4 and later.manifest.privacy["releases"] == 2  # as a second release would have


def test_a_trial_draws_its_own_noise(run, tmp_path, base):
    """At step 998 next to nothing is left of the pictures: what two records share would be noise. An order of its own, too."""
    far = SealSettings(condition="canny", seal_step=998, condition_step=None, derived=True)
    made = [run(name, settings=far, trial=name != "r") for name in ("t", "u", "r")]
    z = [reader.load([tmp_path / name], codec=base, audit=True).z_n[:].flatten(1).numpy() for name in ("t", "u", "r")]
    assert len({summary.manifest.release for summary in made}) == 3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(np.corrcoef(z[a], z[b])[:4, 4:]).max() < 0.5  # 256 values: eight standard deviations


def test_a_trial_and_a_release_never_share_a_folder(run, tmp_path):
    run("a", trial=True)
    with pytest.raises(UserError, match="holds a trial"):
        run("a")
    run("b")
    with pytest.raises(UserError, match="not empty"):
        run("b", trial=True)
    assert run("a", trial=True).resumed == 4
    shutil.rmtree(tmp_path / "a")
    assert run("a", trial=True).sealed == 4  # a trial that was removed is gone for good
    next((tmp_path / "a").glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match="of this trial is gone"):
        run("a", trial=True)
