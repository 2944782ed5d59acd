from datetime import date

import pytest

from sfumato.core.errors import UserError
from sfumato.sharing import audit as sharing
from sfumato.sharing import policy
from sfumato.sharing.formats import written
from sfumato.sharing.rules import found
from sharing_support import DIALECTS, notes_of, write

GOOD = """
fail_on = "medium"
[[ignore]]
rule = "seed"
path = "lora/*"
reason = "published anyway"
until = 2027-01-01
"""


def test_what_passes_passes_until_its_day_and_with_its_reason(tmp_path):
    (tmp_path / "p.toml").write_text(GOOD)
    rules = policy.read(tmp_path / "p.toml")
    several = [found("seed", "lora/a"), found("seed", "b"), found("time", "lora/a")]
    before, after = (policy.applied(several, rules, set(), today=day) for day in (date(2026, 12, 31), date(2027, 1, 1)))
    assert [bool(one.ignored) for one in before] == [True, False, False] and "published anyway" in before[0].ignored
    assert not any(one.ignored for one in after) and rules.fail_on == "medium"


@pytest.mark.parametrize(
    "said",
    [
        "fail_on = 'note'", "fail_on = 3", "ignores = []", "ignore = 3", "[[ignore]]\nrule = 'seed'\nreason = 'x'", "not toml",
        "[[ignore]]\nrule = 'sed'\nreason = 'x'\nuntil = 2027-01-01", "[[ignore]]\nrule = '*'\nreason = ' '\nuntil = 2027-01-01",
        "[[ignore]]\nrule = '*'\nreason = 'x'\nuntil = 'never'", "[[ignore]]\nrule = '*'\nreason = 'x'\nuntil = 2027-01-01\npath = 3",
    ],
)  # fmt: skip
def test_a_policy_that_says_nothing_clear_is_refused(tmp_path, said):
    (tmp_path / "p.toml").write_text(said)
    with pytest.raises(UserError):
        policy.read(tmp_path / "p.toml")


def test_what_a_baseline_knows_passes_and_what_is_new_does_not(tmp_path):
    file = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], notes_of("seed"))
    first = sharing.audit([file])
    (tmp_path / "before.json").write_text(written(first, "json"))
    before = policy.baseline(tmp_path / "before.json")
    assert first.exit_code == 1 and sharing.audit([file], before=before).exit_code == 0
    write(file, DIALECTS["kohya sd1"][0], notes_of("seed", "time"))
    again = sharing.audit([file], before=before)
    assert again.exit_code == 1 and [one.rule for one in again.failing] == ["time"]
    for bad in ("{}", "[]", '{"schema": 99, "findings": []}'):
        (tmp_path / "bad.json").write_text(bad)
        with pytest.raises(UserError):
            policy.baseline(tmp_path / "bad.json")
