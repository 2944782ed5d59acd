"""One way to run an attack: what it lacks, what it found, and what came to nothing."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from sfumato.attacker.attempt import Attacks, Failed, Lacking, NoChannel
from sfumato.attacker.knowledge import Captions, Files, Scenario
from sfumato.core.errors import UserError


@dataclass(eq=False)
class Found:
    """A guess with one number that must be finite, and one that need not."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("checked",)
    checked: torch.Tensor | None = None
    free: torch.Tensor | None = None
    seconds: float = 0.0


def go(row="stub", *known):
    return Attacks("attacker.records").attempt(row, Scenario(*known), seed=1)


def test_the_variant_is_passed_on_only_where_one_was_named(stub):
    seen = []
    stub(lambda scenario, **how: seen.append(how) or Found(), needs=(Captions,))
    go("stub:deep", Captions(("a",)))
    go("stub", Captions(("a",)))
    assert seen[0]["variant"] == "deep" and "variant" not in seen[1] and seen[0]["seed"] == 1


def test_what_an_attack_finds_lacking_is_told_as_what_it_names(stub):
    def run(scenario, **how):
        raise Lacking(Files)

    stub(run, needs=(Captions,))
    assert go("stub", Captions(("a",))) == NoChannel((Files,))
    assert go("stub") == NoChannel((Captions,))


def test_only_the_numbers_that_a_guess_names_must_be_finite(stub):
    broken = torch.tensor([1.0, float("nan")])
    stub(lambda scenario, **how: Found(free=broken), needs=(Captions,))
    fine = go("stub", Captions(("a",)))
    assert isinstance(fine, Found) and fine.seconds > 0
    stub(lambda scenario, **how: Found(checked=broken), needs=(Captions,))
    assert go("stub", Captions(("a",))) == Failed("diverged: its checked holds NaN or infinity")


@pytest.mark.parametrize("package", ["attacker.records", "attacker.weights"])
def test_every_variant_has_a_row_of_its_own(package):
    every = Attacks(package)
    rows, names = every.rows(), every.names()
    assert len(rows) == len(set(rows)) and list(dict.fromkeys(row.partition(":")[0] for row in rows)) == names
    for name in names:
        variants = getattr(every.attack(name), "VARIANTS", ("",))
        assert sum(row.partition(":")[0] == name for row in rows) == len(variants)


def test_rows_are_chosen_by_name_with_or_without_a_variant():
    known = Attacks("attacker.weights")
    assert known.chosen("all") == ()
    assert known.chosen("prior_sampling:null_prompt, gradient_matching") == ("gradient_matching", "prior_sampling:null_prompt")
    assert known.chosen("network_autoencoder") == tuple(row for row in known.rows() if row.startswith("network_autoencoder:"))
    for wrong in ("wishing", "gradient_matching,prior_sampling:luck", ","):
        with pytest.raises(UserError, match="unknown attack"):
            known.chosen(wrong)
