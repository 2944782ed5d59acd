"""Which attacks go together."""

from pathlib import Path

from sfumato.attacker.knowledge import Scenario
from sfumato.studies.records.turns import Turns


def test_variants_of_an_attack_and_who_asks_it_share_a_process():
    rows = ["diffusion_prior:best", "direct_identity", "diffusion_prior:mean", "pooling:records"]
    turns = Turns(
        scenario=Scenario(), base=None, out=Path(), condition="canny", effort="quick", seed=0, count=100, scored={}, rows=rows, busy=[],
        tell=lambda *_: None,
    )  # fmt: skip
    units = turns.units(2)
    assert sorted(map(sorted, units)) == [["diffusion_prior:best", "diffusion_prior:mean"], ["direct_identity", "pooling:records"]]
    assert turns.units(1) == [[row] for row in rows]
