"""JUnit XML, for build servers: a case a file and rule; what was not tested is skipped."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from sfumato.core.outside import printable
from sfumato.sharing.finding import Report

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(report: Report) -> str:
    """One suite; what is no character of XML is escaped."""
    failing = set(report.failing)
    cases = sum(map(len, (report.findings, report.untested, report.audited, report.measured)))
    suite = ElementTree.Element(
        "testsuite", name="sfumato audit", tests=str(cases),
        failures=str(len(failing)), skipped=str(len(report.untested)),
    )  # fmt: skip
    for path, said in report.audited.items():
        case = ElementTree.SubElement(suite, "testcase", classname=_plain(path), name="read")
        ElementTree.SubElement(case, "system-out").text = _plain(said)
    for figure in report.measured:
        case = ElementTree.SubElement(suite, "testcase", classname=_plain(figure.path), name=_plain(figure.what))
        ElementTree.SubElement(case, "system-out").text = _plain(figure.said)
    for one in report.findings:
        case = ElementTree.SubElement(suite, "testcase", classname=_plain(one.path), name=_plain(f"{one.rule} {one.place}".strip()))
        if one in failing:
            bad = ElementTree.SubElement(case, "failure", message=_plain(one.reveals), type=one.level)
            bad.text = _plain("\n".join((*one.examples, one.fix)))
    for open_ in report.untested:
        case = ElementTree.SubElement(suite, "testcase", classname="not tested", name=_plain(open_.what))
        ElementTree.SubElement(case, "skipped", message=_plain(f"{open_.why}. {open_.how}"))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    return _NOT_XML.sub("?", printable(text))
