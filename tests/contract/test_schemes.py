"""What holds for every registered scheme, also for one that is added tomorrow."""

import inspect

import pytest

from sfumato.core import registry
from sfumato.studies.training import arms

SCHEMES = registry.names("schemes")


def test_the_schemes_of_the_paper_and_ours_are_there():
    assert {"centralised", "public", "fedavg", "split", "oneway", "sealed", "synthetic", "private_evolution"} <= set(SCHEMES)
    assert not [name for name in SCHEMES if name.startswith("_")]


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_says_what_it_is_and_runs_a_job(name):
    scheme = registry.get("schemes", name)
    assert scheme.__doc__ and len(scheme.DESCRIPTION) > 10
    (parameter,) = inspect.signature(scheme.run).parameters.values()
    assert parameter.name == "job" and scheme.run.__doc__


@pytest.mark.parametrize("name", SCHEMES)
def test_an_owner_never_needs_more_of_a_base_than_its_codec_and_its_words(name):
    owner = getattr(registry.get("schemes", name), "Owner", None)
    if owner is not None:
        assert owner.load.__name__ in ("load_codec", "load_text_codec")
        methods = [m for n, m in vars(owner).items() if inspect.isfunction(m) and not n.startswith("_")]
        assert methods and all(list(inspect.signature(m).parameters)[:2] == ["self", "tensors"] for m in methods)


def test_every_arm_of_a_comparison_is_a_registered_scheme():
    assert {scheme for scheme, _ in arms.KNOWN.values()} == set(SCHEMES)  # and none is forgotten
    assert all(arms.KNOWN[name] == (name, {}) for name in SCHEMES)  # each under its own name


def test_an_unknown_scheme_is_answered_with_the_known():
    with pytest.raises(ValueError, match="unknown name 'gossip' in schemes; known: .*oneway"):
        registry.get("schemes", "gossip")
