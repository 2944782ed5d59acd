"""Everything that is looked for, and what it gives away. A rule's name is what a policy ignores."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace

from sfumato.sharing.finding import Finding, Rule, shortened

RULES: dict[str, Rule] = {
    # in the header of a file
    "caption": Rule(level="high", reveals="Whole captions of training pictures."),
    "caption-words": Rule(level="medium", reveals="Words of the captions, and how often each occurs."),
    "person": Rule(level="high", certain=False, reveals="What looks like a person's name or address."),
    "user-path": Rule(level="high", reveals="A path with the name of somebody's account."),
    "path": Rule(level="medium", reveals="Paths of the machine that it was made on."),
    "folder-name": Rule(level="medium", reveals="Names of the folders that pictures lay in."),
    "prompt": Rule(level="medium", reveals="Prompts that somebody drew samples with."),
    "free-text": Rule(level="medium", reveals="A text that somebody wrote for themselves or for others."),
    "author": Rule(level="medium", reveals="Who made it."),
    "header-picture": Rule(level="high", reveals="A picture lies in the header."),
    "hidden-bytes": Rule(level="high", reveals="Bytes that belong to no tensor: anything may be in them."),
    "long-note": Rule(level="high", reveals="A note too long to be read: anything may be in it."),
    "set-size": Rule(level="low", reveals="How many pictures it was trained on, or how long."),
    "time": Rule(level="low", reveals="When it was trained."),
    "seed": Rule(level="low", reveals="The seed: the order of pictures and all noise can be drawn again."),
    "session": Rule(level="low", reveals="A number that ties files of one training together."),
    "lineage": Rule(level="low", reveals="Which file it was trained from."),
    "output-name": Rule(level="low", reveals="What its maker called it."),
    "settings": Rule(level="low", reveals="How it was trained."),
    "other-note": Rule(level="low", reveals="Notes that no loader asks for."),
    "tensor-name": Rule(level="medium", reveals="A name that somebody chose, in a tensor's name.", fix=""),
    "trigger": Rule(level="note", reveals="The word that calls what it learned; its users need it.", fix=""),
    # in the weights, held against the private pictures
    "trained-on": Rule(level="high", certain=False, reveals="Which pictures it was trained on can be told.", fix=""),
    "near-copy": Rule(level="high", certain=False, reveals="It draws pictures that come near to private ones.", fix=""),
    "identity": Rule(level="high", certain=False, reveals="What it draws is like the people on the private pictures.", fix=""),
    # in a folder
    "training-pictures": Rule(level="high", reveals="Pictures.", fix="leave out"),
    "captions-file": Rule(level="high", reveals="Captions and names of pictures.", fix="leave out"),
    "cached-latents": Rule(level="high", reveals="Pictures in all but name: a VAE decodes them.", fix="leave out"),
    "secret": Rule(level="high", certain=False, reveals="What looks like a password or a token.", fix="leave out"),
    "history": Rule(level="high", reveals="All that was ever committed here, removed files too.", fix="leave out"),
    "location": Rule(level="high", reveals="Where a picture was taken.", fix="leave out"),
    "logs": Rule(level="medium", reveals="Logs of a training: arguments, paths, samples.", fix="leave out"),
    "checkpoint": Rule(level="medium", reveals="A training's middle: several versions tell more than one.", fix="leave out"),
    "optimizer": Rule(level="medium", reveals="An optimiser's memory: averages of gradients of pictures.", fix="leave out"),
    "pickle": Rule(level="medium", reveals="A pickle: it runs code where it is loaded.", fix="leave out"),
    "picture-prompt": Rule(level="medium", reveals="The prompt and settings in a picture's notes.", fix="leave out"),
    "hidden-file": Rule(level="low", reveals="A hidden file.", fix="leave out"),
    "link-out": Rule(level="low", reveals="A link that leads out of the folder; it was not followed.", fix="leave out"),
    "adapter-settings": Rule(level="low", reveals="Settings beside the weights that name a model or a task.", fix="scrub"),
}  # fmt: skip


def found(
    rule: str, path: str, texts: Iterable[object] = (), *, place: str = "", count: int | None = None, more: str | None = ""
) -> Finding:  # fmt: skip
    """A finding of ``rule`` in ``path``.

    Args:
        rule: a key of ``RULES``.
        path: the file.
        texts: what stands there, a text or several.
        place: where in the file.
        count: how many there are, where that is not the number of texts.
        more: options that the fix takes; None where nothing takes this away.
    """
    one = RULES[rule]
    several: list[object] = [texts] if isinstance(texts, str) else list(texts)
    return Finding(
        rule=rule, level=one.level, certain=one.certain, reveals=one.reveals, path=path, place=place,
        examples=shortened(several), count=len(several) or 1 if count is None else count,
        fix="" if more is None else _fix(one, path) + more,
    )  # fmt: skip


def _fix(rule: Rule, path: str) -> str:
    if rule.fix == "scrub":
        return f"sfumato scrub {shlex.quote(path)} -o CLEAN"
    return "leave it out: sfumato scrub FOLDER -o CLEAN does" if rule.fix else ""


def in_folder(one: Finding, folder: str) -> Finding:
    """The finding with a command for the folder that it is in: one command mends all of them."""
    keep = one.fix.partition(" --keep ")[2]
    command = f"sfumato scrub {shlex.quote(folder)} -o CLEAN" + (f" --keep {keep}" if keep else "")
    return replace(one, fix=command) if one.fix else one
