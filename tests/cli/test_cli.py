"""The commands as their users run them, on a small random base."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
from PIL import Image

from sfumato.cli import main as cli

STEPS = ("--seal-step", 600, "--condition-step", 200)


def test_help_needs_no_torch():
    code = "import sys; import sfumato.cli.main; print('torch' in sys.modules, 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_every_command_explains_itself(run):
    code, out, _ = run("--help")
    assert code == 0
    for command in ("demo", "seal", "train", "generate", "inspect", "version"):
        assert command in out
        assert run(command, "--help")[0] == 0


def test_a_full_disk_is_told_not_traced(run, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/private/out")

    monkeypatch.setattr(cli._help, "built", lambda app: full)
    code, out, err = run("version", "--json")
    assert code == 2 and "/private/out: No space left" in err and json.loads(out)["exit_code"] == 2


def test_an_interrupt_says_how_to_go_on(run, monkeypatch):
    """An interrupt inside a command, on its way through typer."""

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.cli._output.emit", stopped)
    code, out, err = run("version", "--json")
    assert code == 130 and "run the same command again" in err and json.loads(out)["exit_code"] == 130


def test_version_as_json(run):
    code, out, _ = run("version", "--json")
    assert code == 0 and {"sfumato", "torch", "diffusers"} <= set(json.loads(out))


def test_seal_inspect_train_generate(run, make_folder, mini, tmp_path):
    folder, records, net = make_folder(count=12), tmp_path / "records", tmp_path / "net"
    code, out, _ = run("seal", folder, "-o", records, "--owner", "alice", "--base", mini, *STEPS, "--json")
    report = json.loads(out)
    assert code == 0 and report["records"] == 12 and report["prompts_left"] == 0 and report["privacy"]["guarantee"] == "none"
    assert report["bytes_per_picture"] < 1.3 * 2 * 2 * 4 * 8 * 8

    code, out, _ = run("inspect", records, "--picture", tmp_path / "seen.png", "--base", mini)
    assert code == 0 and "signature good" in out and "guarantee    none" in out
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.size == (8 * 128, 2 * 128)
    code, _, err = run("inspect", records, "--picture", tmp_path / "seen.png", "--base", mini)
    assert code == 2 and "seen.png: there already" in err
    assert run("inspect", records, "--picture", tmp_path / "seen.png", "--base", mini, "--overwrite")[0] == 0

    (records / "notes.txt").write_text("who they are")
    code, out, _ = run("inspect", records)
    assert code == 1 and "UNKNOWN      notes.txt" in out
    (records / "notes.txt").unlink()

    code, out, _ = run("train", records, "-o", net, "--base", mini, "--steps", 2, "--batch", 4, "--precision", "no", "--json")
    assert code == 0 and json.loads(out)["owners"] == ["alice"]

    (tmp_path / "net-work" / "checkpoint.safetensors").unlink()  # nobody can tell whose the folder is: it is kept
    code, _, err = run("train", records, "-o", net, "--base", mini, "--steps", 2, "--batch", 4, "--precision", "no")
    assert code == 2 and "there already, of another run" in err

    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "edges.png")
    arguments = (
        "generate",
        net,
        "--condition",
        tmp_path / "edges.png",
        "--prompt",
        "ab",
        "-n",
        2,
        "--steps",
        2,
        "--json",
        "-o",
        tmp_path / "out",
    )
    code, _, err = run(*arguments)
    assert code == 2 and "--base" in err
    code, out, _ = run(*arguments, "--base", mini)
    pictures = json.loads(out)["pictures"]
    assert code == 0 and len(pictures) == 2
    with Image.open(pictures[0]) as image:
        assert image.size == (32, 32)


def test_a_derived_condition_is_found_by_the_server(run, make_folder, mini, tmp_path):
    records, net = tmp_path / "records", tmp_path / "net"
    code, _, err = run(
        "seal", make_folder(count=8), "-o", records, "--owner", "alice", "--base", mini, "--seal-step", 600, "--derive", "--bits", 8
    )
    assert code == 0 and "no condition leaves" in err and "NOT SEALED" not in err
    code, out, _ = run("inspect", records, "--picture", tmp_path / "seen.png", "--base", mini)
    assert code == 0 and "z_n, each 4x8x8 int8" in out and "none leaves" in out
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.size == (8 * 128, 128)
    code, out, _ = run("train", records, "-o", net, "--base", mini, "--steps", 2, "--batch", 4, "--precision", "no", "--json")
    assert code == 0 and json.loads(out)["records"] == 8
    assert (
        run(
            "seal",
            make_folder("b", seed=1),
            "-o",
            tmp_path / "r",
            "--owner",
            "a",
            "--base",
            mini,
            "--seal-step",
            600,
            "--derive",
            "--condition-clip",
            1,
        )[0]
        == 2
    )


def test_training_options_reach_the_training(run, make_folder, mini, tmp_path):
    records, net = tmp_path / "records", tmp_path / "net"
    run("seal", make_folder(count=12), "-o", records, "--owner", "alice", "--base", mini, *STEPS)
    options = (
        "--ema",
        0.5,
        "--held-out",
        0,
        "--steps",
        3,
        "--batch",
        4,
        "--lr",
        1e-3,
        "--accumulation",
        2,
        "--seed",
        7,
        "--precision",
        "no",
    )
    code, out, _ = run("train", records, "-o", net, "--base", mini, *options, "--json")
    report, settings = json.loads(out), json.loads((tmp_path / "net-work" / "provenance.json").read_text())
    assert {item["file"] for item in report["shared"]} == {path.name for path in net.iterdir()} and "alice" not in (
        net / "sfumato.json"
    ).read_text()
    assert code == 0 and report["held_out_loss"] == [] and report["peak_bytes"] > 50e6
    wanted = {"ema": 0.5, "held_out": 0, "steps": 3, "batch": 4, "lr": 1e-3, "accumulation": 2, "seed": 7, "precision": "no"}
    assert {name: settings["train"][name] for name in wanted} == wanted
    (owner,) = settings["owners"]
    assert owner["owner"] == "alice" and len(owner["key"]) == 64 and owner["privacy"]["guarantee"] == "none" and owner["release"]
    code, out, _ = run("inspect", net)
    assert code == 0 and out.count("shared") == 3 and "PRIVATE" not in out
    (net / "owners.txt").write_text("alice")
    code, out, _ = run("inspect", net, "--json")
    assert code == 1 and [item["file"] for item in json.loads(out)["files"] if item["private"]] == ["owners.txt"]
    assert run("inspect", net, "--audit")[0] == 2
    for wrong in (("--ema", 1), ("--held-out", -1), ("--batch", 0)):
        assert run("train", records, "-o", tmp_path / "other", "--base", mini, *wrong)[0] == 2
    assert not (tmp_path / "other").exists()


def test_a_bad_shard_is_exit_one_and_wrong_input_exit_two(run, make_folder, mini, tmp_path):
    records = tmp_path / "records"
    run("seal", make_folder(count=3), "-o", records, "--owner", "alice", "--base", mini, *STEPS)
    next(records.glob("*.safetensors")).write_bytes(b"x")
    code, out, _ = run("inspect", records, "--json")
    assert code == 1 and "cut short" in json.loads(out)["bad"][0]
    code, out, _ = run("inspect", records, "--picture", tmp_path / "seen.png", "--base", mini, "--json")
    report = json.loads(out)
    assert code == 2 and "cut short" in report["bad"][0] and "no good shard" in report["picture_error"] and report["picture"] is None
    code, out, err = run("inspect", tmp_path, "--json")
    assert code == 2 and "no manifest" in json.loads(out)["error"] and "no manifest" in err
    assert run("seal", tmp_path / "nowhere", "-o", records, "--owner", "a", "--base", mini, *STEPS)[0] == 2
    assert run("seal", tmp_path, "-o", records, "--owner", "../a", "--base", mini, *STEPS)[0] == 2
    assert run("train")[0] == 2


def test_the_verdict_comes_even_where_the_picture_cannot(run, make_folder, mini, tmp_path):
    records = tmp_path / "records"
    run("seal", make_folder(count=3), "-o", records, "--owner", "alice", "--base", mini, *STEPS)
    code, out, _ = run("inspect", records, "--picture", tmp_path / "seen.png")  # the base that ships is not the one it was sealed for
    assert code == 2 and "signature good" in out and "NOT DRAWN" in out and not (tmp_path / "seen.png").exists()


def test_a_release_whose_past_is_unbounded_is_not_audited_as_if_it_were_bounded(run, make_folder, mini, tmp_path):
    folder = make_folder(count=2)
    run("seal", folder, "-o", tmp_path / "r", "--owner", "a", "--base", mini, *STEPS)
    mild = ("--seal-step", 990, "--condition-step", 990, "--clip", 1, "--condition-clip", 1, "--allow-rerelease")
    run("seal", folder, "-o", tmp_path / "s", "--owner", "a", "--base", mini, *mild)
    code, out, _ = run("inspect", tmp_path / "s", "--selftest", "--base", mini, "--json")
    report = json.loads(out)
    assert code == 0 and report["privacy"]["guarantee"] == "none" and report["audit"] is None
    assert report["selftest"] == {"auditable": False, "why": report["privacy"]["why"]} and "earlier release" in report["selftest"]["why"]


def test_a_signed_lie_about_the_noise_is_found_out(run, make_folder, mini, tmp_path, home):
    from dataclasses import replace

    from sfumato.owner import keys
    from sfumato.records import manifest as manifests
    from sfumato.records import privacy

    records = tmp_path / "r"
    run("seal", make_folder(count=2), "-o", records, "--owner", "a", "--base", mini, *STEPS, "--clip", 8, "--condition-clip", 8)
    manifest = manifests.read(records)
    entries = [replace(release, alpha=0.01, sigma=0.9999) for release in privacy.entries(manifest.privacy)]
    manifests.write(replace(manifest, privacy=privacy.statement(entries)), records, keys.signing_key(keys.owner_folder("a", None)))
    code, _, err = run("inspect", records, "--base", mini)
    assert code == 2 and "claims noise" in err


def test_an_audit_holds_the_records_against_the_claim(run, make_folder, mini, tmp_path, monkeypatch):
    from dataclasses import replace

    from sfumato.judge.audit import repeats
    from sfumato.owner import keys
    from sfumato.records import manifest as manifests
    from sfumato.records import shard as shards

    monkeypatch.setattr(repeats, "SEEDS", 2)
    folder, records = make_folder(count=4), tmp_path / "r"
    run("seal", folder, "-o", records, "--owner", "a", "--base", mini, "--seal-step", 600, "--condition-step", 200,
        "--clip", 8, "--condition-clip", 8)  # fmt: skip
    code, out, _ = run("inspect", records, "--audit", "--truth", folder, "--base", mini, "--json")
    found = json.loads(out)["audit"]
    assert code == 0 and not found["refuted"] and found["claimed"]["clip"] == 8 and found["owner"]["untested"] == []
    assert found["owner"]["matched"] == "ledger"
    assert {row["field"] for part in ("anybody", "owner") for row in found[part]["tests"]} >= {"z_n", "c_m"}
    code, out, _ = run("inspect", records, "--audit")  # what anybody can test needs no base
    assert code == 0 and "not refuted by what anybody can see" in out and "claimed, and known to the signer alone: clip 8" in out
    assert run("inspect", records, "--truth", folder)[0] == 2

    manifest = manifests.read(records)
    sealed = shards.read(records, manifest.shards[0], manifest)
    entry, data = shards.pack(sealed | {"z_n": sealed["z_n"][:1].expand_as(sealed["z_n"]).clone()})
    (records / manifest.shards[0].file).unlink()
    (records / entry.file).write_bytes(data)
    key = keys.signing_key(keys.owner_folder("a", None))
    manifests.write(replace(manifest, shards=(entry,)), records, key)
    code, out, _ = run("inspect", records, "--audit")
    assert code == 1 and "REFUTED by what anybody can see" in out and "signature good" in out


def test_steps_are_numbers_or_none(run, make_folder, mini, tmp_path):
    folder = make_folder(count=2)
    code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "a", "--base", mini, "--seal-step", "high")
    assert code == 2 and "expected: a step such as 600" in err
    code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "a", "--base", mini, "--seal-step", "1000")
    assert code == 2 and "0 ... 998" in err and not (tmp_path / "r").exists()
    code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "a", "--base", mini, "--seal-step", "none", "--condition-step", 200)
    assert code == 0 and "step none" in err and "guarantee: none" in err


def test_no_epsilon_without_its_terms(run, make_folder, mini, tmp_path):
    arguments = ("--seal-step", 900, "--condition-step", 900, "--clip", 16, "--condition-clip", 16)
    run("seal", make_folder(count=2), "-o", tmp_path / "r", "--owner", "a", "--base", mini, *arguments)
    _, out, _ = run("inspect", tmp_path / "r", "--base", mini)
    line = next(line for line in out.splitlines() if "epsilon" in line)
    for term in ("unit: one picture", "relation: replace-one", "clip 16", "condition clip 16", "releases: 1", "delta", "vacuous"):
        assert term in line
    _, said, _ = run("inspect", tmp_path / "r", "--selftest", "--base", mini)
    assert "not run: a claim above 10 is vacuous" in said
    mild = ("--seal-step", 990, "--condition-step", 990, "--clip", 1, "--condition-clip", 1)
    run("seal", make_folder("other", count=2, seed=1), "-o", tmp_path / "s", "--owner", "a", "--base", mini, *mild)
    _, elsewhere, _ = run("inspect", tmp_path / "s", "--selftest")
    assert "UNCHECKED    sealed for base" in elsewhere and "not run: sealed for base" in elsewhere
    code, audited, sealed = run("inspect", tmp_path / "s", "--selftest", "--base", mini)
    assert code == 0 and "UNCHECKED" not in audited and "not refuted: measured epsilon at least" in audited
    for text in (out, said, elsewhere, audited, sealed):
        for line in text.splitlines():
            assert "epsilon" not in line or all(term in line for term in ("unit:", "relation:", "clip", "releases:")), line


def test_a_parent_gets_progress_as_lines(run, make_folder, mini, tmp_path, monkeypatch):
    monkeypatch.setenv("SFUMATO_PROGRESS", "lines")
    code, out, err = run("seal", make_folder(count=3), "-o", tmp_path / "r", "--owner", "a", "--base", mini, *STEPS, "--json")
    assert code == 0 and json.loads(out)["records"] == 3 and "progress 3 3" in err
