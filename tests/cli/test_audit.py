"""``sfumato audit`` and ``sfumato scrub`` as a person runs them."""

import json

import numpy as np
import pytest

from adapters_support import adapter_of
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


def test_a_copy_is_told_and_what_cannot_be_compared_ends_with_2(run, tmp_path):
    file = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], {})
    other = write(tmp_path / "b.safetensors", DIALECTS["kohya sd2"][0], {})
    code, out, _ = run("audit", str(file), "--like", str(file))
    assert code == 0 and "a copy" in out and "effective rank" in out and "NOT TESTED. Nothing found beside the weights" in out
    code, out, _ = run("audit", str(file), "--like", str(file), "--like", str(other), "--json")
    said = json.loads(out)
    assert code == 2 and said["level"] == "not tested" and said["measured"][-1]["value"] > 0.99
    assert run("audit", str(file), "--like", str(tmp_path / "none"))[0] == 2


@pytest.mark.parametrize(("words", "said"), [
    (("--private", "x"), "--private without --base"), (("--attacker", "x"), "--attacker without --base"),
    (("--base", "tiny", "--holdout", "x"), "--holdout without --private"), (("--base", "tiny", "--class", " "), "--class"),
])  # fmt: skip
def test_what_asks_for_more_is_refused_at_once(run, tmp_path, words, said):
    file = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], {})
    code, _, err = run("audit", str(file), *words)
    assert code == 2 and said in err


def test_with_a_base_the_weights_are_asked(run, tmp_path, mini, base, monkeypatch):
    from sfumato.adapters import formats
    from sfumato.studies.lora import files

    images = np.zeros((2, base.size, base.size, 3), np.uint8)
    monkeypatch.setattr(files, "attacked", lambda *a, **how: ({"failed": {}}, [("prior_sampling:class_prompt", images)]))
    formats.write(adapter_of(base), tmp_path / "a.safetensors")
    code, out, _ = run("audit", str(tmp_path / "a.safetensors"), "--base", str(mini), "--format", "html")
    assert code == 0 and 'alt="drawn by prior_sampling:class_prompt"' in out and "The attacker knew the file, the base" in out


def test_scrub_says_what_is_lost_and_what_is_not_in_the_copy(run, tmp_path):
    kohya = {"ss_tag_frequency": json.dumps({"5_sks person": {"sks person": 20}})}
    file = write(tmp_path / "in" / "a.safetensors", DIALECTS["kohya sd1"][0], kohya)
    code, _, err = run("scrub", str(file), "-o", str(tmp_path / "b.safetensors"))
    assert code == 0 and "--trigger 'sks person'" in err
    code, _, err = run("scrub", str(file), "-o", str(tmp_path / "c.safetensors"), "--trigger", "sks person")
    assert code == 0 and "folder's name" not in err
    code, out, _ = run("audit", str(tmp_path / "c.safetensors"))
    assert code == 0 and "sks person" in out
    (tmp_path / "in" / "bad.safetensors").write_bytes(b"no")
    code, _, err = run("scrub", str(file.parent), "-o", str(tmp_path / "clean"))
    assert code == 2 and "bad.safetensors: NOT IN THE COPY" in err and (tmp_path / "clean" / "a.safetensors").exists()
    code, out, _ = run("scrub", str(file.parent), "--dry-run", "--json")
    assert code == 2 and set(json.loads(out)["bad"]) == {"bad.safetensors"}
