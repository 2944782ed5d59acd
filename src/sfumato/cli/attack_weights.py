"""``sfumato attack-weights``: what a shared LoRA gives away of who was fine-tuned on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli._choices import Lasting

if TYPE_CHECKING:
    from sfumato.studies.lora.people import PeopleConfig

app = typer.Typer(no_args_is_help=True, help="Attack shared LoRA weights: train an attacker, run it on files, evaluate it on many people.")
ENCODERS = "hypernet, invariant, probe, linear; constant, which reads nothing, is their control"
Work = Annotated[Path, typer.Option("--work", help="Where public adapters and victims are kept; run again to go on.")]
DEFAULT_WORK = Path("sfumato-weights")
BaseName = Annotated[str, typer.Option("--base", help="tiny, a diffusers folder, or a hub id of SD 1.x / 2.x.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Public = Annotated[int, typer.Option(help="Public people whose adapters the attacker trains.")]
Rank = Annotated[int, typer.Option(help="Of adapters, as people usually make them.")]
UsualSteps = Annotated[int, typer.Option(help="For how many steps they usually fine-tune; 0.6 to 1.4 times as many are drawn.")]
Prior = Annotated[bool, typer.Option("--prior/--no-prior", help="Fine-tuned with or without prior preservation.")]
Rate = Annotated[float, typer.Option(help="At which learning rate; 0.7 to 1.4 times that is drawn. SD 1.x wants about 1e-4.")]
NOTES = ("rank", "layers not read", "layers taken as zeros", "fine-tuning steps")  # of an attack's budget, that say what it made of a file
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run left there.")]
Quick = Annotated[bool, typer.Option("--quick", help="A few people and steps: does it run? The figures mean nothing.")]


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the attacker goes, a .safetensors file.")],
    encoder: Annotated[str, typer.Option(help=f"One of {ENCODERS}.")] = "invariant",
    budget: Annotated[int, typer.Option(help="Optimiser steps of the encoder.")] = 4000,
    size: Annotated[int, typer.Option(help="How many times as wide as usual the encoder is inside.")] = 1,
    steps_used: Annotated[str, typer.Option(help="all kept steps of the public adapters, or the final ones only.")] = "all",
    with_step: Annotated[bool, typer.Option(help="Tell the encoder for how many steps an adapter was trained.")] = True,
    kl_weight: Annotated[float, typer.Option(help="Of the embedding's divergence from a normal one.")] = 1e-5,
    as_published: Annotated[bool, typer.Option("--as-published", help="With the paper's choices in place of ours, see below.")] = False,
    seed: Annotated[int, typer.Option(help="Of the encoder's first weights and draws; the people stay the same.")] = 0,
    public: Public = 400,
    rank: Rank = 16,
    steps: UsualSteps = 120,
    lr: Rate = 3e-3,
    prior: Prior = True,
    base: BaseName = "tiny",
    work: Work = DEFAULT_WORK,
    quick: Quick = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fine-tune adapters of public people, and train a network autoencoder on them. Interrupted? Run it again.

    --as-published: the embedding stands for itself and is no offset from the empty prompt's, steps are told as they are and not by their
    logarithm, and every diffusion step is learned from. The paper's encoder is hypernet.
    """
    import time

    from sfumato.cli import _output
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    started = time.monotonic()
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}", expected="a file name that ends in .safetensors")
    from sfumato.studies.lora.attacker import base_of, card, is_first, train_attacker

    options = {
        "encoder": encoder,
        "size": size,
        "budget": 4 if quick else budget,
        "steps_used": steps_used,
        "with_step": with_step,
        "kl_weight": kl_weight,
        "seed": seed,
        **({"anchored": False, "log_step": False, "t_from": 0} if as_published else {}),
    }
    loaded, config = base_of(base), _people(public, quick, rank=rank, steps=steps, lr=lr, prior_batch=int(prior))
    with _output.bar("getting ready") as advance:
        made = train_attacker(loaded, config, work, out, options, overwrite=overwrite, tell=advance.phase)
    if not is_first():
        return
    report = {
        "out": str(out), "bytes": out.stat().st_size, "knowledge": card(made), "seconds": time.monotonic() - started, **made.facts,
    }  # fmt: skip
    if as_json:
        _output.emit(report)
        return
    _output.say(f"{out}: {out.stat().st_size / 1e6:.1f} MB, encoder {encoder}")
    for key, value in card(made).items():
        _output.say(f"  {key:20} {value}")


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(metavar="LORA...", help="Shared adapters, .safetensors files.")],
    attacker: Annotated[
        list[Path] | None, typer.Option("--attacker", help="A file that attack-weights train wrote; may be given again. [default: shipped]")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where pictures go.")] = Path("sfumato-weights-run"),
    kind: Annotated[str, typer.Option("--class", help="What is on the pictures, as a common word.")] = "peep",
    truth: Annotated[Path | None, typer.Option(help="One person's pictures, for a single file: how near did the attack come?")] = None,
    steps: Annotated[int | None, typer.Option(help="For how many steps the adapters were trained, if that is known.")] = None,
    base: Annotated[str, typer.Option(help="The base that the adapters were trained on.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Of the attacker's draws.")] = 0,
    candidates: Annotated[
        Path | None, typer.Option(help="Other pictures of people, by a person column or a folder for each: who of them is in the file?")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", help="Where attack-weights train kept public people's adapters, which make --candidates sharper."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Attack shared files: what the header says, pictures of who is in the weights, and who of --candidates it is.

    The attack is that of sfumato audit FILE --base BASE, which also gives a verdict, with intervals where private pictures are given.

    Exit code 1: a header tells of who was trained on (triggers, captions, folders, a picture); else 2: a file could not be read or
    attacked; 0: every file was attacked, and no header tells.
    """
    from sfumato.cli import _output
    from sfumato.core import finished
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    _output.say(f"sfumato audit FILE --base {base} does this, too, and says how sure it is")
    from sfumato.studies.lora.attacker import base_of
    from sfumato.studies.lora.files import ATTACKED, attack_files

    if truth is not None and len(files) != 1:
        raise UserError(f"--truth with {len(files)} files", expected="one file: the pictures are one person's")
    finished.keep(out / ATTACKED, *(out / f"{path.stem}.png" for path in files), overwrite=overwrite)
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}", expected="at least 1")
    if work is not None and candidates is None:
        raise UserError("--work without --candidates", expected="a line-up, which public people's adapters make sharper")
    if not kind.strip():
        raise UserError("--class with no word", expected="what is on the pictures, as a common word")
    loaded = base_of(base)
    with _output.bar("attacking", len(files)) as advance:
        found = attack_files(
            loaded,
            files,
            attacker or [],
            out,
            truth=truth,
            steps=steps,
            seed=seed,
            prompt=f"a photo of {kind.strip()}",
            candidates=candidates,
            work=work,
            tell=advance.phase,
        )
    if as_json:
        _output.emit(found)
    else:
        from sfumato.cli.audit import finding_lines
        from sfumato.sharing.file import of_file
        from sfumato.sharing.finding import sorted_by_level

        for path, (name, answer) in zip(files, found["files"].items(), strict=True):
            for line in (*_answer(name, answer), *(finding_lines(sorted_by_level(of_file(path)[1])) if path.is_file() else ())):
                _output.say(line)
        _output.say(
            "guarantee none: whoever has such a file can try this, and better attacks. docs/results/weights.md says how far they got"
        )
    if code := _code(found["files"].values()):
        raise typer.Exit(code)


def _code(answers: Iterable[dict[str, Any]]) -> int:
    """1 where a header tells, else 2 where a file could not be read or an attack came to nothing, else 0."""
    from sfumato.adapters.notes import TELLING

    several = list(answers)
    if any(answer.get("header", {}).get(kind) for answer in several for kind in TELLING):
        return 1
    broken = any(answer.get("error") or answer.get("failed") or answer.get("line up", {}).get("failed") for answer in several)
    return 2 if broken else 0


def _answer(name: str, answer: dict[str, Any]) -> list[str]:
    """One file's answer in lines."""
    lines = [f"{name}: {answer['error'] if 'error' in answer else answer['pictures']}"]
    header = {key: value for key, value in answer.get("header", {}).items() if key != "read_from"}
    if header.get("triggers"):
        lines.append(f"  THE HEADER NAMES THE TRIGGER: {', '.join(header['triggers'])}")
    lines += [f"  A PICTURE LIES IN THE HEADER, written out as it is: {path}" for path in answer.get("written out", [])]
    lines += [f"  unknown keys: {', '.join(answer['unknown keys'])}"] if answer.get("unknown keys") else []
    for row, budget in answer.get("budget", {}).items():
        near = answer["scores"].get(row)
        told = "" if near is None else f"alike {near['identity similarity']:5.2f}, distance {near['nearest private picture']:.3f}"
        notes = [f"{key}: {budget[key]}" for key in NOTES if key in budget]
        lines.append(f"  {row:48} {told}{'  ' if told else ''}{'; '.join(notes)}")
    if answer.get("scores"):
        (floor, near), *_ = answer["scores"].items()
        lines.append(f"  {floor:48} alike {near['identity similarity']:5.2f}, distance {near['nearest private picture']:.3f}")
        lines.append(
            "  alike: 1 is the very person, strangers lie about where the base does. distance: to the nearest private picture, 0 is a copy"
        )
    line_up = answer.get("line up", {})
    for row, ranked in line_up.get("ranked", {}).items():
        lines.append(
            f"  {row}, of {line_up['candidates']} candidates: " + ", ".join(f"{one['person']} ({one['score']:.3g})" for one in ranked)
        )
    if line_up.get("ranked"):
        lines.append("  somebody comes first in any line-up, whether or not the person is in it")
    failed = answer.get("failed", {}) | line_up.get("failed", {})
    return lines + [f"  {row}: came to nothing ({why}), which is no proof of safety" for row, why in failed.items()]


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where table, figures and contact sheet go.")] = Path("sfumato-weights-study"),
    attacker: Annotated[list[Path] | None, typer.Option("--attacker", help="Trained attackers; may be given again.")] = None,
    victims: Annotated[int, typer.Option(help="Private people of each of two pools.")] = 25,
    odd: Annotated[bool, typer.Option("--odd", help="Victims with another rank and other targets than the attacker trained on.")] = False,
    more: Annotated[bool, typer.Option("--more", help="Also: membership, number of pictures, several merges.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Attack below the gate, too; a failed attack says nothing there.")] = False,
    attacks: Annotated[str, typer.Option(help="all, or names with commas, such as network_autoencoder,prior_sampling.")] = "all",
    public: Public = 400,
    rank: Rank = 16,
    steps: UsualSteps = 120,
    lr: Rate = 3e-3,
    prior: Prior = True,
    base: BaseName = "tiny",
    effort: Annotated[Lasting, typer.Option(help="Of each attack.")] = Lasting.QUICK,
    work: Work = DEFAULT_WORK,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """The whole study: private people, their adapters, every attack, one table. Exit code 2: the gate is not passed."""
    from sfumato.cli import _output
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.attacker.weights import base as known
    from sfumato.studies.lora import study
    from sfumato.studies.lora.attacker import base_of

    config = _people(public, quick, victims=victims, rank=rank, steps=steps, lr=lr, prior_batch=int(prior))
    if not attacker:
        shipped = "the one that ships" if base == "tiny" else "no network autoencoder; sfumato attack-weights train makes one"
        _output.say(f"no --attacker: {shipped}")
    flags = {"odd": odd, "more": more, "anyway": anyway, "quick": quick}
    words = ["sfumato attack-weights evaluate", *(f"--attacker {path.name}" for path in attacker or ()), f"--victims {victims}"]
    usual = (("rank", rank, 16), ("steps", steps, 120), ("lr", lr, 3e-3))
    words += [f"--{name} {value}" for name, value, default in usual if value != default] + ([] if prior else ["--no-prior"])
    words += [f"--{name}" for name, chosen in flags.items() if chosen] + (["--effort full"] if effort is Lasting.FULL else [])
    words += [] if attacks == "all" else [f"--attacks {attacks}"]
    only = known.chosen(attacks)
    if quick:
        _output.say("--quick: a few people and steps, to see whether it runs. The figures mean nothing, and the gate will not be passed")
    with _output.bar("getting ready") as advance:
        figures = study.run(
            base_of(base), config, work, out, attacker or [], odd=odd, more=more, anyway=anyway or quick, only=only,
            effort=effort.value, command=" ".join(words), tell=advance.phase,
        )  # fmt: skip
    if as_json:
        _output.emit(
            {name: figures[name] for name in ("chance", "pairs", "gate", "settings", "more") if name in figures}
            | {name: _flat(figures[name]) for name in ("owner", "floor")}
            | {"attacks": {name: _flat(row) for name, row in figures["attacks"].items()}}
        )
    else:
        for name, row in {"(owner)": figures["owner"], "(base)": figures["floor"], **figures["attacks"]}.items():
            said = f"{row['outcome']}: {row.get('why', '')}"
            if row["outcome"] == "scored":
                said = f"top-1 {row['top1']:.2f} [{row['low']:.2f}, {row['high']:.2f}], top-5 {row['top5']['mean']:.2f}, "
                said += f"n = {row['n']} {row.get('verdict', '')}"
            _output.say(f"{name:44} {said}")
        gate = figures["gate"]
        _output.say(f"chance {figures['chance']:.3f}; gate {'passed' if gate['passed'] else 'NOT PASSED'}: {gate['asked']}")
        _output.say(f"Look: {out / 'weights.html'}")
    if not figures["gate"]["passed"]:
        raise typer.Exit(2)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: ``top1``, ``low``, ``high``, ``identity_similarity`` as numbers, null where nothing was scored, and ``n``."""
    alike = row.get("identity_similarity")
    scores = {name: row.get(name) for name in ("top1", "low", "high")}
    interval = None if alike is None else [alike["low"], alike["high"]]
    return {**row, **scores, "identity_similarity": None if alike is None else alike["mean"], "identity_similarity_interval": interval}


def _people(public: int, quick: bool, **more: Any) -> PeopleConfig:
    from sfumato.core.device import choose_precision
    from sfumato.studies.lora.people import PeopleConfig

    precision = "bf16" if choose_precision() == "bf16" else "no"
    if quick:
        small = {"public": 4, "victims": 2, "each": 2, "steps": 4, "keep": 2, "together": 4}
        return PeopleConfig(**{**more, **small}, precision=precision)
    return PeopleConfig(public=public, precision=precision, **more)
