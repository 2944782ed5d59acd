"""``sfumato compare``: sizes, choices and what is printed; the study itself is tested where it is."""

import json
import sys
from pathlib import Path

import pytest

from sfumato.cli import compare as compare_command
from sfumato.cli import main as cli
from sfumato.studies.training import arms, compare

ROW = {"adherence": {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 64}, "bytes_up_per_picture": 4097.2, "private_pictures": 8}
FIGURES = {"schemes": {"no_control": {"adherence": ROW["adherence"]}, "sealed": ROW}, "sd15": {}, "runs": {"own/sealed/0": ROW}}


@pytest.fixture
def compared(monkeypatch, capsys, tmp_path):
    """Run the command with the study replaced; gives what the study was asked for, and the exit code, stdout and stderr."""

    def go(*arguments):
        asked, commands = [], []

        def study(config, out, *, command, tell):
            commands.append(command)
            tell("own: sealed", 1, 2)
            asked.append((config, out))
            return FIGURES

        monkeypatch.setattr(compare, "run", study)
        monkeypatch.setattr(sys, "argv", ["sfumato", "compare", "-o", str(tmp_path / "out"), *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        for command in commands:  # it makes the same figures again
            assert (
                command.split() == ["sfumato", "compare", *(Path(word).name for word in arguments if word not in ("--json",))]
                or "--scheme" in arguments
            )
        return asked, stop.value.code, said.out, said.err

    return go


@pytest.mark.parametrize(("flag", "size"), [((), "default"), (("--quick",), "quick"), (("--full",), "full")])
def test_each_size_is_the_one_that_is_promised(compared, tmp_path, flag, size):
    ((config, out),), code, _, _ = compared(*flag)
    assert code == 0 and out == tmp_path / "out"
    for name, value in compare.SIZES[size].items():
        assert getattr(config, name) == value
    assert config.arms == tuple(arms.ARMS)


def test_schemes_can_be_chosen(compared):
    ((config, _),), code, _, _ = compared("--quick", "--scheme", "sealed", "--scheme", "oneway-empty")
    assert code == 0 and config.arms == ("sealed", "oneway-empty")


@pytest.mark.parametrize(
    ("arguments", "word"), [(("--quick", "--full"), "one of them"), (("--scheme", "gossip"), "unknown scheme 'gossip'")]
)
def test_what_makes_no_sense_is_exit_two(compared, arguments, word):
    asked, code, _, err = compared(*arguments)
    assert asked == [] and code == 2 and word in " ".join(err.split())


def test_people_get_lines_and_machines_one_object(compared):
    _, _, out, err = compared()
    assert out == "" and "A =  0.50 [0.40, 0.60]" in err and "4,097 bytes up a picture" in err and "compare.html" in err
    _, _, out, _ = compared("--json")
    assert set(json.loads(out)) == {"schema", "schemes", "sd15"}  # every run stays in the file


def test_a_condition_is_asked_for_by_name_and_what_does_not_fit_is_left_out_or_refused(compared, tmp_path):
    ((config, _),), code, _, _ = compared("--condition", "scribble")
    assert code == 0 and config.condition == "scribble" and config.arms == tuple(arms.ARMS)
    folder = str(tmp_path / "a")
    ((config, _),), code, _, err = compared(folder, "--condition", "given")
    gone = {"public", "public-varied", "synthetic", "sealed-derived"}
    assert code == 0 and set(config.arms) == set(arms.ARMS) - gone and all(name in err for name in gone)
    wrong = [(folder, "--condition", "given", "--scheme", "public"), ("--condition", "given"), ("--condition", "outlines")]
    for words, word in zip(wrong, ("public", "without folders", "'outlines'"), strict=True):
        asked, code, _, err = compared(*words)
        assert asked == [] and code == 2 and word in " ".join(err.split())


def test_help_names_every_arm_beside_the_default_ones():
    assert all(f" {name}," in compare_command.ALSO or f" {name}." in compare_command.ALSO for name in arms.ABLATIONS)
    assert not any(f" {name}," in compare_command.ALSO for name in arms.ARMS)


def test_the_default_sizes_keep_to_what_was_asked():
    assert compare.SIZES["quick"]["conditions"] == 64 and compare.SIZES["default"]["conditions"] >= 200
    full = compare.SIZES["full"]
    assert full["conditions"] >= 1000 and len(full["seeds"]) == 2 and full["frechet"] and {"own", "fill50k"} <= set(full["domains"])


def test_folders_steps_and_seed_reach_the_study(compared, tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    ((config, _),), code, _, err = compared(a, b, "--quick", "--steps", "7", "--seed", "5")
    assert code == 0 and config.folders == (tmp_path / "a", tmp_path / "b") and config.domains == ("yours",)
    assert config.steps == 7 and config.seeds == (5,) and config.conditions == 64
    assert "never to be shared" in err and "7 steps: next to nothing is learned" in " ".join(err.split())
    _, _, _, err = compared()
    assert "never to be shared" not in err and "next to nothing" not in err
