"""``sfumato attack``: arguments, exit codes, one JSON object."""

import json

import pytest

from sfumato.studies.records import audit, audit_folder, matrix

CELL = {
    "target": "picture", "effective": True, "score": 0.5, "low": 0.4, "high": 0.6, "prior_only": 0.2, "chance": 0.1, "n": 9,
    "seconds": 1.0, "outcome": "scored", "why": "", "verdict": "effective",
}  # fmt: skip


SETTINGS = {
    "records": "0", "pictures": "0", "effort": "quick", "seed": 0, "base": "0", "public": "", "controlnet": "", "people": 300, "each": 8,
    "version": "0",
}  # fmt: skip
MATRIX_SETTINGS = {
    "records": 0, "people": 9, "each": 1, "public": 9, "public_each": 1, "pools": ["recombined"], "condition": "canny", "effort": "full",
    "seed": 0, "unet": "0", "version": "0",
}  # fmt: skip
VERDICT = {
    "state": "open", "headline": "said first", "notes": ["a note"],
    "commands": ["sfumato seal PICTURES -o RECORDS-900 --owner OWNER", "sfumato attack RECORDS --truth PICTURES"],
}  # fmt: skip


@pytest.mark.parametrize(("code", "passed"), [(0, True), (1, False), (2, None)])
def test_the_gates_decide_the_exit_code(run, monkeypatch, tmp_path, home, code, passed):
    asked = {}

    def fake(records, truth, out, config, **how):
        asked.update(config=config, out=out, how=how)
        how["say"]("algebraic 5 s")
        gate = {"name": "person", "passed": passed, "found": "0.1", "asked": "below 0.2", "unasked": False}
        return {
            "attacks": {"algebraic": CELL, "fsha": {"outcome": "no channel", "why": "no GradientChannel"}}, "gates": [gate],
            "passed": passed, "leaks": {"Latents": 1}, "person": "", "unasked": {}, "records": 9, "audited": 5, "settings": SETTINGS,
            "exit_code": code,
            "verdict": VERDICT, "gates_from": how["gates_from"], "matched": "ledger", "standing": "release", "withdrawn": "",
        }  # fmt: skip

    monkeypatch.setattr(audit, "run", fake)
    monkeypatch.setattr(audit_folder.manifest, "read", lambda folder: None)
    (tmp_path / "recs").mkdir()
    (tmp_path / "recs" / "manifest.json").write_text("{}")
    got, out, _ = run("attack", tmp_path / "recs", "--truth", tmp_path, "--attacks", "algebraic,diffusion_prior:mean", "--json")
    assert got == code and json.loads(out)["attacks"]["algebraic"]["score"] == 0.5 and json.loads(out)["passed"] is passed
    assert asked["config"].attacks == ("algebraic", "diffusion_prior:mean") and asked["out"].parent == home / "audits"
    got, out, err = run("attack", tmp_path / "recs", "--truth", tmp_path)
    assert got == code and asked["config"].attacks == () and "no GradientChannel" in err and "algebraic 5 s" in err
    assert str(asked["out"]) in "".join(err.split("\n")) and "never to be shared" in err and "5 of 9 records" in err
    got, out, _ = run("attack", tmp_path / "recs", "--truth", tmp_path, "--out", tmp_path / "mine", "--effort", "glance", "--json")
    assert json.loads(out)["out"] == str(asked["out"]) == str(tmp_path / "mine") and asked["config"].effort == "glance"
    assert {True: "passed", False: "FAILED", None: "NOT TESTED"}[passed] in err and "effective" in err
    records = tmp_path / "recs"  # commands that can be run as they stand
    assert "said first" in err and f"next: sfumato attack {records} --truth {tmp_path}" in err and f"-o {records}-900" in err


@pytest.mark.parametrize("words", [("matrix",), ("attack", "--matrix")])
def test_the_matrix_is_another_question(run, monkeypatch, tmp_path, words):
    def fake(config, out, **how):
        assert config.schemes == ("sealed",) and config.effort == "full" and set(config.attacks) == {"fsha"}
        return {"matrix": {"sealed": {"algebraic": CELL}}, "leaks": {"sealed": {"Latents": 1}}, "settings": MATRIX_SETTINGS}

    monkeypatch.setattr(matrix, "run", fake)
    how = (*words, "--scheme", "sealed", "--effort", "full", "--attacks", "fsha", "--out", tmp_path)
    code, out, err = run(*how, "--json")
    assert code == 0 and json.loads(out)["matrix"]["sealed"]["algebraic"]["n"] == 9
    assert ("sfumato matrix now" in err) == (words != ("matrix",))
    code, _, err = run(*how)
    assert code == 0 and "sealed: Latents leaves" in err and "picture 0.500 [0.400, 0.600]" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no records or no --truth"),
        (("recs",), "no records or no --truth"),
        (("recs", "--truth", "x", "--matrix"), "--matrix with records"),
        (("recs", "--truth", "x", "--effort", "heroic"), "heroic"),
        (("recs", "--truth", "x", "--attacks", "wishing"), "unknown attack 'wishing'"),
        (("recs", "--truth", "x", "--attacks", ","), "unknown attack"),
        (("recs", "--truth", "x", "--gates", "nowhere.toml"), "nowhere.toml"),
        (("recs", "--truth", "x"), "recs"),
    ],
)
def test_a_wrong_call_says_what_was_wrong(run, arguments, said):
    code, _, err = run("attack", *arguments)
    assert code == 2 and said in err
