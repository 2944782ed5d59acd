"""``sfumato audit``: what files and folders give away, before they are shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from click import Choice

from sfumato.sharing import formats

if TYPE_CHECKING:
    from sfumato.sharing.finding import Finding, Report

TABLE = "table"  # for a terminal; the others are a file each
FORMATS = (TABLE, *formats.names())


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files (.safetensors of any program) and folders.")],
    form: Annotated[str, typer.Option("--format", click_type=Choice(FORMATS), help="How the report is written.")] = TABLE,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the report there, and a table to the terminal.")] = None,
    policy: Annotated[Path | None, typer.Option(help="TOML: which level fails, and what passes, for which reason, until when.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="An earlier report as JSON: what stands there passes.")] = None,
    like: Annotated[list[Path] | None, typer.Option(help="Another adapter: is this a copy of it, or a merge? May be given again.")] = None,
    base: Annotated[str | None, typer.Option(help="Attack the weights with this base: tiny, a diffusers folder, or a hub id.")] = None,
    attacker: Annotated[
        list[Path] | None, typer.Option(help="A file that attack-weights train wrote; may be given again. [default: shipped, for tiny]")
    ] = None,
    private: Annotated[Path | None, typer.Option(help="The pictures that it was trained on, for --base: what comes back?")] = None,
    holdout: Annotated[Path | None, typer.Option(help="Others of the same people, not trained on: are they told apart?")] = None,
    kind: Annotated[str | None, typer.Option("--class", help="What is on them, in a word. [default: peep for tiny, else person]")] = None,
    seed: Annotated[int, typer.Option(help="Of the attacker's draws.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say what files give away, before you share them: offline, in seconds, without a base or a GPU.

    Headers of weights, names of files, notes of pictures and small texts are read, and of the weights of a file their spectrum. With
    --base the weights are attacked, and with --private and --holdout held against your pictures: minutes, on a large base hours. For
    records that sfumato seal wrote: inspect --audit, and attack.

    Exit code 0: no finding; 1: findings; 2: something that was named could not be read, or that was asked not be tested.
    """
    from sfumato.api.audit import audit
    from sfumato.cli import _output
    from sfumato.core import finished

    form = "json" if as_json else form
    if out is not None:
        finished.keep(out, overwrite=overwrite)
    if base is not None:
        from sfumato.diffusion.quiet import quiet_libraries

        quiet_libraries()
    how: dict[str, Any] = {"policy": policy, "baseline": baseline, "like": like or ()}
    if base is None:
        report = audit(paths, attacker=attacker or (), private=private, holdout=holdout, kind=kind, **how)
    else:
        with _output.bar("attacking", timed=False) as advance:
            report = audit(
                paths, base=base, attacker=attacker or (), private=private, holdout=holdout, kind=kind, seed=seed,
                on_progress=advance.phase, **how,
            )  # fmt: skip
    text = "" if form == TABLE else formats.written(report, form)
    if out is not None:
        from sfumato.core.artifact import write_atomic

        write_atomic(out, (text or formats.written(report, "markdown")).encode(), private=True)
    elif text:
        _output.show(text.rstrip("\n"))
    if form == TABLE or out is not None:
        _table(report)
        if out is not None:
            _output.say(f"{out}: the report. It quotes what it found: share it with care")
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _line(text: str) -> None:
    """One line, also where a name or a text has several."""
    from sfumato.cli import _output

    _output.show(text.replace("\n", "\\n"))


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Findings for a person, two lines each."""
    from sfumato.sharing.words import sure

    for one in findings:
        where = ", ".join(part for part in (one.path, one.place) if part)
        more = f" ({one.count})" if one.count > 1 else ""
        yield f"{one.level.upper():6} {one.reveals}{more} [{one.rule}, {sure(one)}]"
        yield f"       {where}" + (f": {'; '.join(one.examples)}" if one.examples else "")
        if one.ignored:
            yield f"       passes: {one.ignored}"


def _table(report: Report) -> None:
    """The report for a person, the verdict last, where a terminal shows it."""
    from sfumato.sharing.words import basis, cheapest, headline

    for path, said in report.audited.items():
        _line(f"{path}: {said}")
    for figure in report.measured:
        where = f"{figure.path}, " if len(report.audited) > 1 else ""
        _line(f"  {where}{figure.what}: {figure.said}")
    for line in finding_lines(report.findings):
        _line(line)
    first = cheapest(report)
    for fix in dict.fromkeys(one.fix for one in report.failing if one.fix and one.fix != first):
        _line(f"fix:   {fix}")
    for open_ in report.untested:
        _line(f"NOT TESTED: {open_.what}: {open_.why}" + (f". {open_.how}" if open_.how else ""))
    _line(headline(report))
    if rests := basis(report):
        _line(rests)
    if first:
        _line(f"Next: {first}")
