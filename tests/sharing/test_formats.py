"""One report, six ways to write it: each says the same findings, and nothing of a file becomes markup."""

import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sfumato.core.errors import UserError
from sfumato.sharing import audit as sharing
from sfumato.sharing import formats
from sfumato.sharing.words import headline
from sharing_support import DIALECTS, LEAKS, notes_of, write

HOSTILE = {"modelspec.author": "<script>alert(1)</script> | \x1b[2J\x00 ]]>"}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared")
    file = write(root / "a b.safetensors", DIALECTS["kohya sd1"][0], notes_of(*LEAKS) | HOSTILE)
    (root / "c.ckpt").write_bytes(b"\x80\x04K\x01.pickle")
    return sharing.audit([file, root / "c.ckpt"])


def test_json_holds_everything(report):
    said = json.loads(formats.written(report, "json"))
    assert formats.written(report, "json").isascii() and formats.written(report, "sarif").isascii()  # safe to print
    assert said["exit_code"] == 1 and said["failing"] == len(report.failing) and len(said["findings"]) == len(report.findings)


def test_sarif_is_of_its_schema_as_far_as_hosts_ask(report):
    log = json.loads(formats.written(report, "sarif"))
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0" and len(run["results"]) == len(report.findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] and result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error") and result["kind"] in ("fail", "informational")
        assert (result["level"] == "none") == (result["kind"] != "fail")
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert " " not in uri and uri.startswith("file:///")  # the paths are whole: a relative one begins with no slash
    assert any(note["level"] == "warning" for note in run["invocations"][0]["toolExecutionNotifications"])


def test_junit_fails_where_the_audit_does(report):
    suite = ElementTree.fromstring(formats.written(report, "junit"))
    assert int(suite.get("failures")) == len(suite.findall(".//failure")) == len(report.failing)
    assert int(suite.get("skipped")) == len(suite.findall(".//skipped")) == len(report.untested)
    assert int(suite.get("tests")) == len(suite.findall("testcase"))


def test_a_page_asks_nobody_and_runs_nothing(report):
    page = formats.written(report, "html")
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Reader().feed(page)
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "form"}
    assert not any(name.startswith("on") or name == "src" for _, attrs in tags for name in attrs)
    assert all(attrs["href"].startswith("#") for _, attrs in tags if "href" in attrs)
    assert page.count("<article>") == len(report.findings) and headline(report) in page and "http" not in page


def test_markdown_keeps_a_cell_in_its_cell(report):
    text = formats.written(report, "markdown")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(report.findings) + 2 and all(row.replace("\\|", "").count("|") == 6 for row in rows)
    assert "<script" not in text and "\x1b" not in text


def test_an_unknown_format_is_refused_with_those_there_are(report):
    with pytest.raises(UserError, match="sarif"):
        formats.written(report, "pdf")
    assert formats.names() == ["html", "json", "junit", "markdown", "sarif"]


def test_a_verdict_never_calls_clean_what_was_not_read(tmp_path):
    good = write(tmp_path / "a.safetensors", DIALECTS["diffusers"][0], {"format": "pt"})
    (tmp_path / "b.safetensors").write_bytes(b"no")
    assert sharing.audit([good]).exit_code == 0 and "not tested" in headline(sharing.audit([good]))
    both = sharing.audit([good, tmp_path / "b.safetensors"])
    assert both.exit_code == 2 and "Not clean" in headline(both)
    with pytest.raises(UserError, match="nothing was audited"):
        sharing.audit([good, tmp_path / "none"])
    with pytest.raises(UserError, match="nothing to audit"):
        sharing.audit([])


def test_a_path_that_was_named_relative_stays_so_in_sarif(tmp_path, monkeypatch):
    write(tmp_path / "a b.safetensors", DIALECTS["kohya sd1"][0], notes_of("seed"))
    monkeypatch.chdir(tmp_path)
    log = json.loads(formats.written(sharing.audit([Path("a b.safetensors")]), "sarif"))
    result = log["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.safetensors"
