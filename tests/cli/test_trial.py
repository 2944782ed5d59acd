"""Seal, attack, seal again: a trial counts as nothing, and what was withdrawn counts no more."""

import html
import json
import os
import stat

import pytest
from PIL import Image

from sfumato.core.errors import RecordError
from sfumato.judge import verdict
from sfumato.records import manifest as manifests
from sfumato.records import reader
from sfumato.studies.records import people

LEAVES, STAYS = ("--seal-step", 300, "--condition-step", 100), ("--seal-step", 900, "--derive")
GATES = '[structure]\nforbidden = ["Conditions"]\nreleases = 1\n'


@pytest.fixture
def loop(run, make_folder, mini, tmp_path, monkeypatch):
    """Commands on one folder of pictures, and gates that conditions at any step fail."""
    drawn = people.prior
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **{**how, "drawn": 2}))
    pictures, public, gates = make_folder(count=6), make_folder("public", count=60, seed=0), tmp_path / "gates.toml"
    gates.write_text(GATES)

    class Loop:
        folder = pictures

        @staticmethod
        def seal(out, *how):
            where = () if out is None else ("-o", tmp_path / out)
            code, said, err = run("seal", pictures, "--owner", "me", "--base", mini, *where, *how, "--json")
            return code, json.loads(said), err

        @staticmethod
        def attack(records, out):
            code, said, _ = run("attack", records, "--truth", pictures, "--public", public, "--base", mini, "--gates", gates,
                                  "--attacks", "algebraic", "--effort", "glance", "-o", tmp_path / out, "--json")  # fmt: skip
            return code, json.loads(said) if said else {}, html.unescape((tmp_path / out / "attack.html").read_text())

    return Loop


def ledger(home):
    return (home / "ledger/releases.jsonl").read_bytes() if (home / "ledger/releases.jsonl").exists() else b""


def test_a_trial_fails_its_gate_the_real_seal_passes_and_is_the_first_release(loop, run, mini, base, home, tmp_path):
    code, report, err = loop.seal(None, "--trial", *LEAVES)
    records = home / "trials" / os.path.basename(report["out"])
    assert code == 0 and report["trial"] and str(records) == report["out"] and "must not leave this machine" in err
    assert all(stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600) for path in (records, *records.iterdir()))
    assert stat.S_IMODE(records.parent.stat().st_mode) == 0o700 and ledger(home) == b""
    code, figures, page = loop.attack(records, "first")
    assert code == 1 and [(g["name"], g["passed"]) for g in figures["gates"]] == [("structure", False)]
    assert figures["matched"] == "ledger" and figures["standing"] == "trial" and verdict.STAYS["trial"] in page
    code, said, _ = run("inspect", records, "--base", mini)
    assert code == 0 and "TRIAL        these records must not leave this machine" in said
    code, _, err = run("train", records, "-o", tmp_path / "net", "--base", mini, "--steps", 1)
    assert code == 2 and "a trial" in err and "fix: seal without --trial" in err and not (tmp_path / "net").exists()

    code, report, err = loop.seal("records", *STAYS)
    assert code == 0 and not report["trial"] and report["privacy"]["releases"] == 1 and "withdrawn" not in report["privacy"]
    code, figures, page = loop.attack(tmp_path / "records", "second")
    assert code == 0 and figures["standing"] == "release" and verdict.STAYS["trial"] not in page and figures["passed"]
    assert len(reader.load([tmp_path / "records"], codec=base)) == 6


def test_what_was_withdrawn_is_sealed_again_and_passes(loop, run, mini, base, home, tmp_path):
    assert loop.seal("records", *LEAVES)[0] == 0
    code, figures, page = loop.attack(tmp_path / "records", "first")
    assert code == 1 and "sfumato withdraw" in page
    code, report, _ = loop.seal("again", *STAYS)
    assert code == 2 and "sfumato withdraw" in report["error"]
    before = ledger(home)
    code, said, _ = run("withdraw", tmp_path / "records", "--yes", "--json")
    report = json.loads(said)
    assert code == 0 and report["records"] == 6 and not report["withdrawn_before"] and report["deleted"] == []
    (line,) = [json.loads(line) for line in (home / "ledger/withdrawn.jsonl").read_text().splitlines()]
    assert line["release"] == report["release"] and line["said"] == report["said"] and ledger(home) == before
    with pytest.raises(RecordError, match="withdrawn"):
        reader.load([tmp_path / "records"], codec=base)
    assert "WITHDRAWN    these records must not leave" in run("inspect", tmp_path / "records", "--base", mini)[1]

    code, report, _ = loop.seal("again", *STAYS)
    assert code == 0 and report["privacy"]["releases"] == 1 and report["privacy"]["withdrawn"] == 1
    code, figures, page = loop.attack(tmp_path / "again", "second")
    assert code == 0 and "1 earlier release of these pictures" in figures["withdrawn"] and figures["withdrawn"] in page
    code, said, _ = run("inspect", tmp_path / "again", "--base", mini)
    assert code == 0 and figures["withdrawn"] in said
    code, report, _ = loop.seal("third", *STAYS)
    assert code == 2 and "released before" in report["error"]  # what was not withdrawn still counts


def test_attack_and_inspect_take_pictures_as_seal_made_them_square(loop, run, mini, tmp_path):
    Image.new("RGB", (48, 32), "red").save(loop.folder / "secret-0.png")
    code, report, _ = loop.seal(None, "--trial", *LEAVES, "--crop", "pad")
    records = report["out"]
    assert code == 0 and report["padded"] == 1 and loop.seal(None, "--trial", *LEAVES)[1]["out"] != records
    code, figures, _ = loop.attack(records, "padded")
    assert code == 1 and figures["matched"] == "ledger"
    how = ("inspect", records, "--base", mini, "--audit", "--truth", loop.folder)
    assert run(*how)[0] == 0
    for wrong in (("attack", records, "--truth", loop.folder, "--base", mini), how):
        code, _, err = run(*wrong, "--crop", "center")
        assert code == 2 and "--crop center" in err and "--crop pad" in err


def test_a_withdrawal_is_asked_for(loop, run, tmp_path, home, monkeypatch):
    loop.seal("records", *STAYS)
    for how in ((), ("--json",)):
        code, _, err = run("withdraw", tmp_path / "records", *how)
        assert code == 2 and "not confirmed" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, wanted in ((False, 2), (True, 0)):
        monkeypatch.setattr("typer.confirm", lambda *a, answer=answer, **k: answer)
        assert not (home / "ledger/withdrawn.jsonl").exists()
        code, _, err = run("withdraw", tmp_path / "records")
        assert code == wanted and "two draws of the noise" in err
    assert (home / "ledger/withdrawn.jsonl").exists() and manifests.read(tmp_path / "records").standing == "withdrawn"


def test_a_seal_that_may_leave_needs_a_place(loop):
    code, report, _ = loop.seal(None, *STAYS)
    assert code == 2 and "no --out" in report["error"]
