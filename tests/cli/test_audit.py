"""``sfumato audit`` and ``sfumato scrub`` as a person runs them."""

import json

from sharing_support import DIALECTS, LEAKS, notes_of, write


def test_audit_finds_scrub_cleans_and_audit_passes(run, tmp_path):
    file, clean = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], notes_of(*LEAKS)), tmp_path / "clean.safetensors"
    code, out, _ = run("audit", str(file))
    assert code == 1 and "Stable Diffusion 1.x" in out and "red sofa" in out and "NOT TESTED" in out and "sfumato scrub" in out
    code, out, _ = run("scrub", str(file), "-o", str(clean), "--json")
    done = json.loads(out)
    assert code == 0 and "ss_tag_frequency" in done["files"][file.name]["dropped"]
    code, out, _ = run("audit", str(clean), "--json")
    assert code == 0 and json.loads(out)["failing"] == 0
    assert run("scrub", str(file), "-o", str(clean))[0] == 2  # what is finished is not overwritten
    assert run("scrub", str(file), "--in-place")[0] == 0 and file.read_bytes() == clean.read_bytes()


def test_a_report_goes_into_a_file_and_a_policy_counts(run, tmp_path):
    file = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], notes_of("seed"))
    policy, page = tmp_path / "p.toml", tmp_path / "r.html"
    policy.write_text('fail_on = "high"')
    code, out, err = run("audit", str(file), "--policy", str(policy), "--format", "html", "-o", str(page))
    assert code == 0 and page.read_text().startswith("<!doctype html>") and "seed" in out and page.stat().st_mode & 0o077 == 0
    assert "quotes what it found" in err
    assert run("audit", str(file), "--format", "pdf")[0] == 2
    assert run("audit", str(tmp_path / "none"))[0] == 2


def test_what_scrub_cannot_do_is_said(run, tmp_path):
    file = write(tmp_path / "in" / "a.safetensors", DIALECTS["kohya sd1"][0], notes_of("seed"))
    for words in ((str(file),), (str(file), "--in-place", "-o", "x"), (str(file.parent), "--in-place"),
                  (str(file), "-o", str(file)),
                  (str(file), "-o", str(tmp_path / "b.safetensors"), "--keep", "captions"),
                  (str(tmp_path / "none"), "--dry-run")):  # fmt: skip
        assert run("scrub", *words)[0] == 2, words
    before = file.read_bytes()
    code, _, err = run("scrub", str(file), "--dry-run")
    assert code == 0 and file.read_bytes() == before and "ss_seed" in err
    code, _, err = run("scrub", str(file.parent), "-o", str(tmp_path / "clean"), "--keep", "rank")
    assert code == 0 and (tmp_path / "clean" / "a.safetensors").exists() and "the same by hash" in err
