"""One report of files and folders that are to be shared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sfumato.core.errors import UserError
from sfumato.sharing import file as files
from sfumato.sharing import folder as folders
from sfumato.sharing import policy as policies
from sfumato.sharing import weighed
from sfumato.sharing.finding import Finding, Measured, Report, Seen, Shown, Untested, sorted_by_level
from sfumato.sharing.policy import Policy
from sfumato.sharing.rules import in_folder


def audit(
    paths: Iterable[Path], *, policy: Policy | None = None, before: Iterable[tuple[str, str, str]] = (),
    on_path: Callable[[Path], None] = lambda path: None, weigh: Callable[[Path], Seen] | None = None,
) -> Report:  # fmt: skip
    """What ``paths`` give away.

    Args:
        paths: files and folders.
        policy: what passes; by default nothing does.
        before: keys of findings that are known from an earlier report.
        on_path: told about each before it is looked at.
        weigh: looks at the weights of an adapter that was named itself; by default as far as that goes without another file or a base.

    Raises:
        UserError: one of them is not there, or nothing was named.
    """
    several = list(paths)
    if not several:
        raise UserError("nothing to audit", expected="a file or a folder")
    for path in several:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder", fix="check the path: nothing was audited")
    said: dict[str, str] = {}
    findings: list[Finding] = []
    untested: list[Untested] = []
    measured: list[Measured] = []
    shown: list[Shown] = []
    count = size = 0
    for path in several:
        on_path(path)
        if path.is_dir():
            said[str(path)], seen = folders.of_folder(path)
            findings += [in_folder(one, str(path)) for one in seen.findings]
            untested += seen.untested
            count, size = count + seen.files, size + seen.bytes
            if weigh is not None:
                untested.append(Untested(what=f"the weights in {path}", why="a folder was named", how="name the file itself", asked=True))
        else:
            said[str(path)], found, open_ = files.of_file(path)
            findings += found
            if any(one in files.OPEN for one in open_):
                own = (weigh or weighed.alone)(path)
                findings, measured, shown = [*findings, *own.findings], [*measured, *own.measured], [*shown, *own.shown]
                open_ = [one for one in open_ if one.what not in own.answered] + list(own.untested)
            elif weigh is not None and not open_:
                open_ = [Untested(what=f"the weights of {path}", why="it is no adapter", asked=True)]
            untested += open_
            count, size = count + 1, size + (path.stat().st_size if path.is_file() else 0)
    rules = policy or Policy()
    passed = policies.applied(findings, rules, set(before))
    return Report(
        audited=said, findings=sorted_by_level(passed), untested=tuple(dict.fromkeys(untested)), fail_on=rules.fail_on,
        files=count, bytes=size, measured=tuple(measured), shown=tuple(shown),
    )  # fmt: skip
