"""What holds for every registered attack on records, also for one that is added tomorrow."""

import ast
import importlib
import inspect
import pkgutil

import pytest

import sfumato.attacker
from sfumato.attacker import attempt as attempts
from sfumato.attacker import knowledge
from sfumato.attacker.records import base as records
from sfumato.attacker.weights import base as weights
from sfumato.diffusion.base import Base

ATTACKS = records.names()
KNOWLEDGE = {value for value in vars(knowledge).values() if inspect.isclass(value) and value.__module__ == knowledge.__name__} | {Base}
NEVER = ("owner", "server", "judge", "pictures", "schemes", "studies", "cli")


def test_the_inverting_attacks_are_there_and_helpers_are_none():
    assert {"rmle", "query_free", "unsplit", "fsha", "gradient_inversion", "text_inversion"} <= set(ATTACKS)
    assert "base" not in ATTACKS and not [name for name in ATTACKS if name.startswith("_")]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_says_what_it_is(name):
    attack = records.attack(name)
    assert attack.__doc__ and 10 < len(attack.DESCRIPTION) <= 140 and "\n" not in attack.DESCRIPTION
    assert attack.TARGETS and set(attack.TARGETS) <= set(records.TARGETS)
    assert {"quick", "full"} <= set(attack.COUNT) <= set(attempts.EFFORTS) and all(type(n) is int and n > 0 for n in attack.COUNT.values())
    assert attack.COUNT.get("glance", 1) <= attack.COUNT["quick"] <= attack.COUNT["full"]
    assert set(getattr(attack, "GLANCED", ())) <= set(getattr(attack, "VARIANTS", ()))


def test_at_a_glance_optimisers_are_left_out_and_closed_forms_are_not():
    counts = {row: attempts.count(records.attack(row.partition(":")[0]), "glance", row.partition(":")[2]) for row in records.rows()}
    made = {row for row, count in counts.items() if count}
    assert {"algebraic", "linear_mmse", "linkage:exact", "linkage:another", "direct_identity", "diffusion_prior:ddim"} <= made
    assert not made & {"rmle", "query_free", "unsplit", "fsha", "gradient_inversion", "diffusion_prior:tuned", "linkage:jpeg"}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_needs_types_of_knowledge_and_nothing_else(name):
    attack = records.attack(name)
    declared = attempts.declared(attack)
    assert attack.NEEDS and len(set(declared)) == len(declared)
    assert set(declared) <= KNOWLEDGE - {knowledge.Scenario, knowledge.ByRecord}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_run_as_every_other(name):
    parameters = inspect.signature(records.attack(name).run).parameters
    _, *others = parameters.values()
    assert list(parameters)[:4] == ["scenario", "effort", "seed", "tell"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in others)
    assert all(p.default is not inspect.Parameter.empty for p in others[3:])  # more is the attack's own affair


@pytest.mark.parametrize("name", ATTACKS)
def test_on_an_empty_scenario_an_attack_has_no_channel(name):
    answer = records.attempt(name, knowledge.Scenario())
    assert answer == attempts.NoChannel(records.attack(name).NEEDS)
    assert all(kind.__name__ in str(answer) for kind in answer.missing)


@pytest.mark.parametrize("name", ATTACKS)
def test_one_piece_of_knowledge_less_is_named(name):
    needs = records.attack(name).NEEDS
    for absent in needs:
        scenario = knowledge.Scenario()
        scenario._known = {kind: object() for kind in needs if kind is not absent}
        assert records.attempt(name, scenario) == attempts.NoChannel((absent,))


def modules():
    return [m.name for m in pkgutil.walk_packages(sfumato.attacker.__path__, "sfumato.attacker.")]


@pytest.mark.parametrize("name", modules())
def test_no_attacker_sees_an_owner_a_server_or_a_judge(name):
    source = inspect.getsource(importlib.import_module(name))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not [one for one in found if one.startswith("sfumato.") and one.split(".")[1] in NEVER]


@pytest.mark.parametrize("name", modules())
def test_no_attacker_draws_from_a_global_generator(name):
    source = inspect.getsource(importlib.import_module(name))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            draws = node.func.attr in ("randn", "rand", "randint", "randperm", "multinomial", "normal_", "uniform_", "bernoulli")
            assert not draws or "generator" in [k.arg for k in node.keywords], f"line {node.lineno}"
            assert node.func.attr not in ("randn_like", "rand_like", "manual_seed"), f"line {node.lineno}"


@pytest.mark.parametrize("name", weights.names())
def test_an_attack_on_weights_says_what_it_is_and_has_no_channel_where_there_is_nothing(name):
    attack = weights.attack(name)
    assert attack.__doc__ and 10 < len(attack.DESCRIPTION) <= 140 and "\n" not in attack.DESCRIPTION
    assert attack.TARGETS and set(attack.TARGETS) <= set(weights.TARGETS) and attack.NEEDS
    for row in (row for row in weights.rows() if row.partition(":")[0] == name):
        assert weights.attempt(row, knowledge.Scenario()) == attempts.NoChannel(attack.NEEDS)
