"""``sfumato attack --list``, and what the help says of times."""

import json
import re

from sfumato.attacker.records import base as known
from sfumato.cli import _attacks, attack
from sfumato.studies.records import pace
from sfumato.studies.records.audited import AUDITED


def test_every_attack_is_listed_with_what_it_needs_and_asks(run):
    code, out, _ = run("attack", "--list", "--json")
    found = {one["name"]: one for one in json.loads(out)["attacks"]}
    assert code == 0 and list(found) == known.rows()
    for name, one in found.items():
        module = known.attack(name.partition(":")[0])
        assert one["asks"] == list(module.TARGETS) and one["needs"] == [kind.__name__ for kind in module.NEEDS]
        assert one["does"] == module.DESCRIPTION and one["seconds"] == pace.seconds(name, "quick", _attacks.TIMED)


def test_people_read_the_same_on_standard_output(run):
    code, out, err = run("attack", "--list", "--effort", "glance")
    assert code == 0 and not err
    rows = {line.split()[0]: line for line in out.splitlines() if line[0] != " "}
    assert set(known.rows()) < set(rows)
    assert "left out" in rows["rmle"] and re.search(r"\d+ s", rows["direct_identity"])
    assert "needs Latents" in out and "asks for picture" in out
    assert run("attack", "--list", "--effort", "heroic")[0] == 2


def test_the_help_says_what_was_measured():
    most = AUDITED["quick"]
    total = sum(pace.seconds(row, "quick", 10 * most) or 0 for row in known.rows())  # of one core
    assert f"about seven minutes on one core, four on two, of {most} records at most" in attack.EFFORT and 0.75 < total / 420 < 1.5
    assert pace.measured()["seconds"]["full"] or "never timed" in attack.EFFORT
