"""``sfumato attack``: what an attacker gets from records, before anyone uploads them; or from every scheme."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfumato.cli._choices import Crop, Effort

if TYPE_CHECKING:
    from sfumato.api.attack import Attacked
    from sfumato.judge.verdict import Verdict

EFFORT = (
    "glance (a minute; leaves attacks out, and says which), quick (about seven minutes on one core, "
    "four on two, of 400 records at most), "
    "or full (more than 20 minutes for 48 records, hours for thousands; never timed to its end). Each attack's time: --list."
)
GATES = f"Gates as TOML; copy and change those that ship. [default: {Path(__file__).parent.parent / 'assets' / 'gates.toml'}]"


def command(
    records: Annotated[Path | None, typer.Argument(help="A folder that sfumato seal wrote.")] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="The folder that was sealed. It is read here and goes nowhere.")] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Only say which attacks there are, what each needs and how long it takes.")
    ] = False,
    matrix: Annotated[bool, typer.Option("--matrix", help="As sfumato matrix does: every scheme, on invented people (an hour).")] = False,
    attacks: Annotated[str, typer.Option(help="all, or names with commas between: algebraic,diffusion_prior.")] = "all",
    scheme: Annotated[list[str] | None, typer.Option("--scheme", help="With --matrix: only this scheme; may be given again.")] = None,
    jobs: Annotated[int, typer.Option(help="Attacks at a time, in processes; 0 for one a core, at most four.")] = 0,
    effort: Annotated[Effort, typer.Option(help=EFFORT)] = Effort.QUICK,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where the report goes, a private folder; run again to go on. [default: in SFUMATO_HOME]"),
    ] = None,
    gates: Annotated[Path | None, typer.Option(help=GATES)] = None,
    public: Annotated[
        Path | None,
        typer.Option(help="Public pictures of the same kind as yours (of other people, where people are on them) to learn from."),
    ] = None,
    controlnet: Annotated[Path | None, typer.Option(help="A ControlNet trained from these records, as the server has it.")] = None,
    crop: Annotated[Crop | None, typer.Option(help="As seal was told. [default: what your ledger says, else center]")] = None,
    base: Annotated[str, typer.Option(help="The base that the records were sealed for.")] = "tiny",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack your own records and see what comes back.

    Exit code 0: the gates that could be asked passed; 1: one failed; 2: something could not be tested, or the input was wrong; 3: a fault
    of Sfumato itself.
    """
    from sfumato.cli import _attacks, _matrix, _output
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.attacker.records import base as known

    if listing:
        found = _attacks.listed(effort.value)
        if as_json:
            from sfumato.cli.outputs.attack import Listing

            _output.emit(Listing(effort=effort.value, of_records=_attacks.TIMED, attacks=tuple(found)))
        for line in () if as_json else _attacks.lines(found, effort.value):
            _output.show(line)
        return
    rows = known.chosen(attacks)
    if matrix:
        if records or truth or gates or public or controlnet or base != "tiny":
            raise UserError("--matrix with records or their options", expected="one or the other: the matrix invents its own people")
        _output.say("note: attack --matrix is sfumato matrix now; both do the same")
        _matrix.run(rows, scheme, effort.value, out or Path("sfumato-matrix"), jobs, as_json)
        return
    if records is None or truth is None or scheme:
        raise UserError("no records or no --truth", expected="sfumato attack RECORDS --truth FOLDER, or sfumato matrix")
    from sfumato.api.attack import attack

    with _output.bar("getting ready", timed=False) as advance:
        attacked = attack(
            records, truth, out=out, attacks=attacks, effort=effort.value, gates=gates, public=public,
            controlnet=controlnet, crop=crop.value if crop else None, base=base, jobs=jobs, on_note=_output.say,
            on_progress=lambda what, done, total, note="": advance.phase(what, done, total),
        )  # fmt: skip
    if as_json:
        from sfumato.cli.outputs.attack import Attack

        _output.emit(Attack.of(attacked))
    else:
        _say(attacked)
        _say_verdict(attacked.verdict, records, truth)
        _output.say(f"Look: {attacked.page}")
    if attacked.exit_code:
        raise typer.Exit(attacked.exit_code)


def _say(found: Attacked) -> None:
    from sfumato.cli import _attacks, _audit, _output

    if found.standing != "release":
        _output.say(f"{found.standing.upper()}: these records must not leave this machine")
    if found.withdrawn:
        _output.say(found.withdrawn)
    if found.audited < found.records:
        _output.say(f"{found.audited} of {found.records} records were attacked, drawn at random.")
    _output.say(f"Which record is which picture: {_audit.MATCHED[found.matched]}. No attacker was told.")
    for line in _attacks.rows(found.attacks):
        _output.say(line)
    for gate in found.gates:
        verdict = {True: "passed", False: "FAILED", None: "NOT ASKED" if gate.unasked else "NOT TESTED"}[gate.passed]
        _output.say(f"gate {gate.name:10} {verdict:10} {gate.found} (asked: {gate.asked})")
    if found.person:
        _output.say(found.person)


def _say_verdict(verdict: Verdict, records: Path, truth: Path) -> None:
    """What to do, last, where a terminal shows it."""
    import shlex

    from sfumato.cli import _output
    from sfumato.judge.verdict import PICTURES, RECORDS

    _output.say(verdict.headline)
    for note in verdict.notes:
        _output.say(f"  {note}")
    places = {RECORDS: shlex.quote(str(records)), PICTURES: shlex.quote(str(truth))}
    for command in verdict.commands:
        _output.say("next: " + " ".join(_placed(word, places) for word in command.split()))


def _placed(word: str, places: dict[str, str]) -> str:
    """``word`` of a command with a folder's own path in place of its name: of ``RECORDS-900``, too."""
    return next((path + word.removeprefix(name) for name, path in places.items() if word == name or word.startswith(f"{name}-")), word)
