"""A file is attacked with a base, and held against private pictures; what cannot be is open, and was asked."""

import numpy as np
import pytest
from PIL import Image

from adapters_support import adapter_of
from sfumato.adapters import formats
from sfumato.core.errors import UserError
from sfumato.sharing import audit as sharing
from sfumato.studies.lora import audit, files, members
from sharing_support import DIALECTS, write


@pytest.fixture(scope="module")
def lora(base, tmp_path_factory):
    path = tmp_path_factory.mktemp("lora") / "a.safetensors"
    formats.write(adapter_of(base), path)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for name, count in (("private", 2), ("holdout", 3)):
        (root / name).mkdir()
        for k in range(count):
            images = np.random.default_rng(ord(name[0]) + k).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(images).save(root / name / f"{k}.png")
    return root / "private", root / "holdout"


@pytest.fixture
def drawn(monkeypatch):
    """The attack itself is that of ``files``, and is tried there: here it gives pictures at once."""
    asked = []

    def attacked(base, adapter, encoders, **how):
        asked.append(how)
        images = np.random.default_rng(1).integers(0, 255, (4, base.size, base.size, 3), np.uint8)
        first = [] if how["real"] is None else [(files.PRIVATE, how["real"]), (files.BASE, images)]
        return {"failed": {"linear": "it diverged"}}, [*first, ("prior_sampling:class_prompt", images)]

    monkeypatch.setattr(files, "attacked", attacked)
    return asked


def test_without_private_pictures_they_are_shown_and_the_question_stays_open(mini, lora, drawn):
    told = []
    report = sharing.audit([lora], weigh=audit.weigher(str(mini), tell=lambda *how: told.append(how)))
    assert told == [("drawing what is in a.safetensors", 0, 0)]
    assert report.level == "not tested" and report.exit_code == 2  # an attack came to nothing
    assert [one.label for one in report.shown] == ["drawn by prior_sampling:class_prompt"]
    open_ = {one.what: one for one in report.untested}
    assert "--private" in open_["who or what is in the weights"].how and "diverged" in open_[f"linear, {lora}"].why
    assert any("attack-weights train" in one.how for one in report.untested)  # none is trained for this base
    assert drawn[0]["real"] is None and drawn[0]["prompt"] == "a photo of person"


def test_with_private_pictures_every_question_has_an_answer_or_a_reason(mini, lora, folders, drawn, monkeypatch):
    monkeypatch.setattr(members, "resolvable", lambda n, m: False)
    private, holdout = folders
    report = sharing.audit([lora], weigh=audit.weigher(str(mini), private=private, holdout=holdout, kind="dog"))
    what = {figure.what for figure in report.measured}
    assert "near-copies" in what and "spectrum of the UNet" in what and len(report.shown) == 3
    assert any("not resolvable" in one.why for one in report.untested)
    assert not any(one.what == "who or what is in the weights" for one in report.untested)
    assert len(drawn[0]["real"]) == 2 and drawn[0]["prompt"] == "a photo of dog"


def test_a_file_of_another_base_is_open_and_takes_nothing_from_the_next(mini, lora, tmp_path, drawn, monkeypatch):
    monkeypatch.undo()  # the attack itself says that it does not fit
    other = write(tmp_path / "b.safetensors", DIALECTS["kohya flux"][0], {})
    seen = audit.weigher(str(mini))(other)
    (open_,) = seen.untested
    assert open_.asked and "Flux" in open_.why and str(other) in open_.what and seen.measured


def test_a_fault_of_ours_is_kept_and_named(mini, lora, home, monkeypatch):
    def broken(*a, **how):
        raise TypeError("unsupported operand")

    monkeypatch.setattr(files, "attacked", broken)
    (open_,) = audit.weigher(str(mini))(lora).untested
    assert open_.asked and "a fault of sfumato" in open_.why and len(list((home / "faults").iterdir())) == 1


def test_the_fix_is_a_training_of_half_the_steps_and_the_trigger_is_used(mini, folders):
    asked = audit.weigher(str(mini), private=folders[0])
    assert asked._fix({"steps": 300}).endswith("--rank 4 --steps 150") and str(folders[0]) in asked._fix({})
    assert asked._called({"triggers": ["zwx"]}) == "a photo of zwx person" and asked._called({}) == "a photo of person"


def test_pictures_in_both_roles_are_refused(mini, folders, tmp_path):
    private = folders[0]
    with pytest.raises(UserError, match="both"):
        audit.weigher(str(mini), private=private, holdout=private)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "copy.png").write_bytes((private / "0.png").read_bytes())
    with pytest.raises(UserError, match="holds pictures of"):
        audit.weigher(str(mini), private=private, holdout=tmp_path / "x")
