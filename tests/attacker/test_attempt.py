"""One way to run an attack: what it lacks, what it found, and what came to nothing."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from sfumato.attacker.attempt import Attacks, Failed, Lacking, NoChannel, count
from sfumato.attacker.knowledge import Candidates, Captions, Files, Latents, People, Public, Scenario
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


def latents():
    return Latents(torch.zeros(1, 2, 4, 2, 2), torch.zeros(1, 2, dtype=torch.int64))


def test_an_attack_that_reads_what_it_does_not_declare_has_failed(stub):
    files = Files(np.zeros((2, 4, 4, 3), np.uint8))
    known = latents(), files, People(torch.arange(2)), Captions(("a", "b"))
    for ask in (lambda given: given[Files], lambda given: given.get(Files), lambda given: given.rows(1)[Files],
                lambda given: given.having(Public)[Files]):  # fmt: skip
        stub(lambda given, ask=ask, **how: ask(given) and Found(), needs=(Latents,), may_use=(People,))
        answer = go("stub", *known)
        assert isinstance(answer, Failed) and "Files" in answer.cause
    seen = []
    stub(lambda given, **how: seen.append(given.kinds()) or Found(), needs=(Latents,), may_use=(People, Candidates))
    assert isinstance(go("stub", *known), Found) and seen == [[Latents, People]]  # nor does it lie there unasked for


def test_an_attack_cannot_write_on_what_it_is_given(stub):
    z, people, candidates = latents(), People(torch.arange(2)), Candidates(*torch.zeros(2, 2, 4, 2, 2))
    public = Public(np.zeros((1, 4, 4, 3), np.uint8), *torch.zeros(2, 1, 4, 2, 2), ["a"], ["b"])

    def on_latents(given, **how):
        given[Latents].z[0, 0] += 1
        return Found()

    def on_candidates(given, **how):
        given[Candidates].z_0.zero_().add_(1)
        return Found()

    def on_pictures(given, **how):
        given[Public].images[:] = 1
        return Found()

    def on_names(given, **how):
        given[Public].identities.append("c")
        return Found()

    for run, named in ((on_latents, "Latents.z"), (on_candidates, "Candidates.z_0"), (on_pictures, "images"), (on_names, "identities")):
        stub(run, needs=(Latents, People, Candidates, Public))
        answer = go("stub", z, people, candidates, public)
        assert isinstance(answer, Failed) and named in answer.cause
    assert not z.z.any() and not candidates.z_0.any()  # what the judge has of it is untouched


def test_an_attack_without_a_glance_makes_the_quick_effort(stub):
    seen = []
    for counts in ({"quick": 2, "full": 4}, {"glance": 1, "quick": 2, "full": 4}):
        module = stub(lambda given, *, effort, **how: seen.append(effort) or Found(), needs=(Captions,), COUNT=counts)
        Attacks("attacker.records").attempt("stub", Scenario(Captions(("a",))), effort="glance")
        assert count(module, "glance") == counts.get("glance") and count(module, "full") == 4
    assert seen == ["quick", "glance"]
