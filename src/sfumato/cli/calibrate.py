"""``sfumato calibrate``: measure what privacy costs on a base, and choose the presets of ``sfumato seal --privacy`` there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where figures and plot go; run again to go on.")] = Path("sfumato-frontier"),
    base: Annotated[str, typer.Option(help="The base to calibrate.")] = "tiny",
    point: Annotated[
        list[str] | None,
        typer.Option("--point", help="Only this setting, such as sealed:seal_step=700,condition_step=400; may be given again."),
    ] = None,
    shifted: Annotated[bool, typer.Option("--shifted", help="Train every point in a style that the base never saw, too.")] = False,
    effort: Annotated[str, typer.Option(help="Of the attacks: quick, or full.")] = "quick",
    install: Annotated[
        bool | None, typer.Option("--install/--no-install", help="Use the presets on this machine from now on. [default: unless --point]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train and attack at many settings, plot one against the other, and choose presets (some hours)."""
    from sfumato.cli import _output
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.studies import frontier

    if base != "tiny":
        raise UserError(
            f"--base {base!r}",
            expected="tiny: the invented people that are trained on and attacked are drawn for it",
            fix="choose the steps yourself, seal a few pictures, and look at what sfumato attack gets from them",
            privacy="the tiny base's presets say nothing about another: larger latents carry more signal",
        )
    chosen = {"points": tuple(point)} if point else {}
    config = frontier.FrontierConfig(effort=effort, shifted=shifted, **chosen)  # type: ignore[arg-type]
    words = ["sfumato calibrate", *(f"--point {name}" for name in point or ()), *(["--shifted"] if shifted else [])]
    words += ["--effort full"] if effort == "full" else []
    with _output.bar("getting ready") as advance:
        figures = frontier.run(config, out, command=" ".join(words), tell=advance.phase)
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
    if install or (install is None and not point):
        _output.say(f"presets: {frontier.install(figures)}")
    _output.say(f"Look: {out / 'frontier.png'}")


def _seen(person: dict[str, Any] | None) -> str:
    """What the best attack that was run got, with its interval."""
    return "people: not tested" if person is None else f"people {person['score']:.3f} [{person['low']:.3f}, {person['high']:.3f}]"
