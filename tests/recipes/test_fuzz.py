"""A short run of the fuzz in every check: ``SFUMATO_FUZZ_CASES`` and ``SFUMATO_FUZZ_SEED`` make it longer, or another."""

import json
import os
import random
import struct
import time

import pytest

from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json
from tests_support import load_recipe

fuzz = load_recipe("fuzz")
CASES, SEED = int(os.environ.get("SFUMATO_FUZZ_CASES", "160")), int(os.environ.get("SFUMATO_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def ground(base, tmp_path_factory):
    return fuzz.Ground(tmp_path_factory.mktemp("fuzz") / "ground", base)


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_whatever_comes_in_is_read_or_refused(ground, home, kind):
    found = fuzz.run(ground, cases=CASES // 4, seed=SEED, kinds=(kind,))
    assert found["faults"] == [] and found["grew_bytes"] < fuzz.MEMORY
    assert 0 < found["refused"] < found["cases"]  # some mutations do no harm, most are found


def test_a_case_is_the_same_again(ground, home):
    for kind in fuzz.KINDS:
        first, second = (str(fuzz.one(kind, 3, ground)).replace("sfumato-fuzz-", "") for _ in range(2))
        assert len(first) == len(second)


def test_faults_hangs_and_growth_are_found(ground, monkeypatch):
    def broken(draw, ground, at):
        kind = draw.randrange(3)
        if kind == 0:
            raise TypeError("unsupported")
        if kind == 1:
            raise UserError("as it should be")
        try:
            time.sleep(60)
        except Exception:  # a reader that swallows what it does not know
            return

    monkeypatch.setitem(fuzz.KINDS, "broken", broken)
    monkeypatch.setattr(fuzz, "LIMIT", 0.05)
    found = fuzz.run(ground, cases=30, seed=1, kinds=("broken",))
    errors = {fault["error"].partition(":")[0] for fault in found["faults"]}
    assert errors == {"TypeError", "TooLong"} and found["refused"] + len(found["faults"]) == 30
    assert all(fault["case"].startswith("broken:1") and fault["where"] for fault in found["faults"])
    sizes = iter(range(0, 10**12, 2 * fuzz.MEMORY))
    monkeypatch.setattr(fuzz, "peak", lambda: next(sizes))
    assert "grew" in fuzz.run(ground, cases=1, seed=1, kinds=("lora",))["faults"][0]["error"]


def test_mutations_keep_to_json_and_change_it():
    value = {"a": [1, 2, {"b": "text"}], "c": None}
    changed = 0
    for seed in range(60):
        draw = random.Random(seed)
        twisted = fuzz.twisted(draw, value)
        changed += twisted != value
        assert isinstance(fuzz.written(draw, twisted), bytes)
    assert changed > 50 and value == {"a": [1, 2, {"b": "text"}], "c": None}


def test_headers_lie_sometimes_and_are_well_formed_mostly():
    well = 0
    for seed in range(100):
        data = fuzz.packed(random.Random(seed), {"w": ("F32", [1], struct.pack("<f", 1))}, {"note": "x"})
        try:
            size = int.from_bytes(data[:8], "little")
            well += "w" in parse_json(data[8 : 8 + size], name="x") and len(data) == 8 + size + 4
        except (UserError, TypeError):
            continue
    assert 30 < well < 95


def test_one_case_by_itself(capsys, tmp_path, monkeypatch, base):
    monkeypatch.setattr(fuzz, "load_base", lambda name: base)
    monkeypatch.setitem(fuzz.KINDS, "broken", lambda draw, ground, at: [][0])
    assert fuzz.main(["--only", "broken:5"]) == 1 and "IndexError" in capsys.readouterr().err
    assert fuzz.main(["--cases", "2", "--kinds", "broken"]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 2
