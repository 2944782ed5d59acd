"""``sfumato calibrate``: measure what privacy costs on a base, and choose the presets of ``sfumato seal --privacy`` there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sfumato.cli._choices import Effort


def command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Your own pictures, a folder for each owner, in place of invented people."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where figures and plot go; run again to go on.")] = Path("sfumato-frontier"),
    base: Annotated[str, typer.Option(help="The base to calibrate.")] = "tiny",
    point: Annotated[
        list[str] | None,
        typer.Option("--point", help="Only this setting, such as sealed:seal_step=700,condition_step=400; may be given again."),
    ] = None,
    shifted: Annotated[bool, typer.Option("--shifted", help="Train every point in a style that the base never saw, too.")] = False,
    effort: Annotated[Effort, typer.Option(help="Of the attacks; glance with FOLDER alone.")] = Effort.QUICK,
    steps: Annotated[int | None, typer.Option(help="Of every training. [default: 400]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of pictures, training and attacks. [default: 0]")] = None,
    condition: Annotated[str | None, typer.Option(help="With FOLDER: canny, scribble, or given. [default: canny]")] = None,
    public: Annotated[
        Path | None, typer.Option(help="With FOLDER: public pictures of the same kind, for the attackers to learn from.")
    ] = None,
    install: Annotated[
        bool,
        typer.Option("--install/--no-install", help="Use the presets that were chosen on this machine from now on."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train and attack at many settings, plot one against the other, and choose presets (some hours).

    With folders of your own: see at each setting how well conditions are followed, and what attacks get back of your pictures.
    """
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    if base != "tiny":
        raise UserError(
            f"--base {base!r}",
            expected="tiny: the invented people that are trained on and attacked are drawn for it",
            fix="choose the steps yourself, seal a few pictures, and look at what sfumato attack gets from them",
            privacy="the tiny base's presets say nothing about another: larger latents carry more signal",
        )
    if effort is Effort.GLANCE and not folders:
        raise UserError(f"--effort {effort} without FOLDER", expected="quick or full; glance is for folders of your own")
    sizes = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    if sizes.get("steps", 1) < 1 or sizes.get("seed", 0) < 0:
        raise UserError(f"--steps {steps}, --seed {seed}", expected="at least 1 step, and a seed from 0 up")
    said = [*(f"--point {name}" for name in point or ()), *(["--shifted"] if shifted else [])]
    said += [f"--{name} {value}" for name, value in sizes.items()] + ([f"--effort {effort}"] if effort is not Effort.QUICK else [])
    if folders:
        if shifted or install:
            raise UserError("--shifted or --install with folders", expected="neither: your pictures are one style, and make no level")
        _own(tuple(folders), out, point, effort.value, condition or "canny", public, sizes, said, as_json)
        return
    if condition is not None or public is not None:
        raise UserError("--condition or --public without folders", expected="both with folders of your own alone")
    _invented(out, point, shifted, effort.value, sizes, said, as_json, install=install)


def _invented(
    out: Path, point: list[str] | None, shifted: bool, effort: str, sizes: dict[str, int], said: list[str], as_json: bool, *,
    install: bool,
) -> None:  # fmt: skip
    from sfumato.cli import _output
    from sfumato.studies import frontier

    chosen: dict[str, Any] = {"points": tuple(point)} if point else {}
    config = frontier.FrontierConfig(effort=effort, shifted=shifted, **chosen, **sizes)  # type: ignore[arg-type]
    with _output.bar("getting ready") as advance:
        figures = frontier.run(config, out, command=" ".join(["sfumato calibrate", *said]), tell=advance.phase)
    if as_json:
        _output.emit({name: figures[name] for name in ("points", "presets", "beside", "shifted", "settings", "base")})
    for name, found in figures["points"].items():
        person = found["person"]
        seen = _seen(person) + ("" if person is None else f" ({person['attack']})")
        _output.say(f"{name:44} A = {found['adherence']['mean']:.2f}  {seen}")
    for level, found in figures["presets"].items():
        kept = f"{found['share_of_centralised']:.2f} of centralised"
        person = found.get("again", found)["person"]
        _output.say(
            f"{level:6} {found['scheme']}: {kept}; {_seen(person)}; three times a guess: {'below' if found['met'] else 'NOT below'}"
        )
    if install:
        _output.say(f"presets: {frontier.install(figures)}")
    else:
        _output.say("presets: not installed. To use them on this machine: the same command again, with --install")
    _output.say(f"Look: {out / 'frontier.png'}")


def _own(
    folders: tuple[Path, ...], out: Path, point: list[str] | None, effort: str, condition: str, public: Path | None,
    sizes: dict[str, int], said: list[str], as_json: bool,
) -> None:  # fmt: skip
    from sfumato.cli import _output
    from sfumato.studies import own_frontier

    _output.say(
        f"{out} will hold your pictures, what is made of them, and trials that must not leave: it is private, and never to be shared"
    )
    said += [f"--condition {condition}"] if condition != "canny" else []
    said += [f"--public {public.name}"] if public else []
    config = own_frontier.OwnConfig(
        folders=folders, points=tuple(point or ()), effort=effort, condition=condition, public=public, **sizes  # type: ignore[arg-type]
    )  # fmt: skip
    command = " ".join(["sfumato calibrate", *(folder.name for folder in folders), *said])
    with _output.bar("getting ready") as advance:
        figures = own_frontier.run(config, out, command=command, say=_output.say, tell=advance.phase)
    if as_json:
        _output.emit(figures)
        return
    for name, found in figures["points"].items():
        verdict = {True: "passed", False: "FAILED", None: "NOT TESTED"}[found["passed"]]
        _output.say(f"{name:44} A = {found['adherence']['mean']:.2f}  {verdict}")
        for target, cell in found["seen"].items():
            _output.say(f"  {target:10} " + ("not scored" if cell is None else _told(cell)))
        for gate in found["gates"]:
            if gate["passed"] is not True:
                how = "not asked" if gate["unasked"] else "FAILED" if gate["passed"] is False else "not tested"
                _output.say(f"  gate {gate['name']}: {how}: {gate['found']}")
    for line in (*figures["notes"], *filter(None, [figures["few"]])):
        _output.say(line)
    _output.say(
        "No setting is known to have passed: leave these pictures where they are, or try others with --point."
        if figures["best"] is None
        else f"Followed best of those that passed these attacks: {figures['best']}. Not all attacks ran; before anything leaves:"
    )
    for line in figures["next"]:
        _output.say(f"next: {line}")
    _output.say(f"Look: {out / 'compare' / 'compare.html'}, and the attack.html of each point in {out / 'points'}")


def _told(cell: dict[str, Any]) -> str:
    """What the best attack that was run got of something, and what a guess gets."""
    return f"{cell['score']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}], without records {cell['prior_only']:.3f} ({cell['attack']})"


def _seen(person: dict[str, Any] | None) -> str:
    """What the best attack that was run got, with its interval."""
    return "people: not tested" if person is None else f"people {person['score']:.3f} [{person['low']:.3f}, {person['high']:.3f}]"
