"""What weights say stands in every format of the report, as figures; a likeness that cannot be told is open, and was asked."""

import json
from dataclasses import replace

import pytest

from sfumato.sharing import audit as sharing
from sfumato.sharing import formats, weighed
from sfumato.sharing.finding import Measured, Report, Seen, Shown, Untested
from sfumato.sharing.rules import found
from sfumato.sharing.words import basis, cheapest, headline
from sharing_support import DIALECTS, notes_of, write


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return write(tmp_path_factory.mktemp("weighed") / "one.safetensors", DIALECTS["kohya sd1"][0], {})


def test_a_file_that_is_named_is_weighed_and_a_folders_are_not(one):
    report = sharing.audit([one])
    (figure,) = report.measured
    assert figure.what == "spectrum of the UNet" and 1 <= figure.value <= 4 and figure.n == 1 and "of 4" in figure.said
    assert sharing.audit([one.parent]).measured == () and report.exit_code == 0 and report.level == "not tested"


def test_a_copy_is_told_and_fails_nothing(one):
    seen = weighed.of(one, (one,))
    like = seen.measured[-1]
    assert like.value == pytest.approx(1) and "a copy" in like.said and str(one) in like.what and not seen.untested


@pytest.mark.parametrize("other", ["another base", "no file of weights"])
def test_what_cannot_be_compared_is_open_and_was_asked(one, tmp_path, other):
    path = tmp_path / "x.safetensors"
    if other == "another base":
        write(path, DIALECTS["kohya sd2"][0], {})
    else:
        path.write_bytes(b"nothing")
    (open_,) = weighed.of(one, (path,)).untested
    assert open_.asked and str(path) in open_.what and open_.why


FIGURES = Seen(
    measured=(Measured(what="near-copies", path="a", said="1 | 12 <drawn>", value=0.1, low=0.02, high=0.4, chance=0.0, n=12,
                       knew="the file"),
              Measured(what="membership by pia", path="a", said="0.9", value=0.9, low=0.7, high=1.0, chance=0.5, n=20,
                       knew="the file and the pictures")),
    shown=(Shown(path="a", label="drawn <b>", url="data:image/png;base64,AAAA"),),
    untested=(Untested(what="membership by lira", why="it is long"),), answered=frozenset(("who or what is in the weights",)),
)  # fmt: skip


def test_what_a_base_and_pictures_tell_is_in_the_verdict_and_in_every_format(one):
    report = sharing.audit([one], weigh=lambda path: FIGURES)
    assert report.level == "low" and report.exit_code == 0 and headline(report).startswith("LOW.")
    assert "knew the file and the pictures." in basis(report) and "0.90 [0.70, 1.00], chance 0.5, n = 20" in basis(report)
    assert [open_.what for open_ in report.untested] == ["whether a given picture was trained on", "membership by lira"]
    said = json.loads(formats.written(report, "json"))
    assert said["level"] == "low" and said["measured"][1]["n"] == 20 and said["shown"] == [{"path": "a", "label": "drawn <b>"}]
    page = formats.written(report, "html")
    assert 'alt="drawn &lt;b&gt;"' in page and "data:image/png;base64,AAAA" in page and "&lt;drawn&gt;" in page
    for form in ("markdown", "junit", "sarif"):
        assert "membership by pia" in formats.written(report, form) and "AAAA" not in formats.written(report, form)


def test_attacked_without_the_truth_is_not_tested():
    report = Report(audited={"a": "LoRA"}, findings=(), untested=(), measured=(Measured(what="x", path="a", said="4", knew="the base"),))
    assert report.level == "not tested" and headline(report).startswith("NOT TESTED") and "no truth" in basis(report)


def test_the_cheapest_fix_is_a_scrub_where_one_helps(one, tmp_path):
    file = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], notes_of("caption"))
    assert cheapest(sharing.audit([file])).startswith("sfumato scrub ") and cheapest(sharing.audit([one])) == ""


def test_who_asks_for_weights_is_told_where_none_were_looked_at(one, tmp_path):
    whole = write(tmp_path / "checkpoint.safetensors", DIALECTS["checkpoint"][0], {})
    for path in (whole, one.parent):
        asked = sharing.audit([path], weigh=lambda path: FIGURES)
        assert asked.exit_code == 2 and asked.level == "not tested" and any(str(path) in open_.what for open_ in asked.untested)
        assert sharing.audit([path]).exit_code == 0


def test_a_kind_whose_spectrum_is_not_read_is_said(tmp_path):
    file = write(tmp_path / "a.safetensors", DIALECTS["lycoris loha"][0], {})
    (open_,) = weighed.alone(file).untested
    assert "spectrum" in open_.what and not open_.asked and not weighed.alone(file).measured


def test_the_verdict_rests_on_a_figure_that_fails_where_one_does(one):
    failing = replace(found("near-copy", str(one), ["near-copies: 0.10 [0.02, 0.40]"], place="the weights"), fix="sfumato finetune x")
    report = sharing.audit([one], weigh=lambda path: replace(FIGURES, findings=(failing,)))
    assert report.level == "high" and report.exit_code == 1 and "Near-copies: 0.10 [0.02, 0.40]" in basis(report)
    assert cheapest(report) == "sfumato finetune x"
