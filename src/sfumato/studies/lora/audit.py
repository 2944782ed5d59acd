"""What a shared adapter's weights give away, as findings and figures of a report.

An attacker with the base draws pictures; they are held against the owner's private ones where these are given.

The attack itself is that of ``sfumato attack-weights run``. Without the private pictures there is nothing to hold it against: the
question stays open, and the pictures are shown.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from sfumato.adapters import formats, notes
from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Effort
from sfumato.attacker.weights._autoencoder import Autoencoder
from sfumato.core import faults
from sfumato.core.errors import UserError
from sfumato.core.header import read_header
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import DEFAULT, Base
from sfumato.judge.report import pages
from sfumato.owner.folder import read_folder
from sfumato.sharing import weighed
from sfumato.sharing.file import WHO
from sfumato.sharing.finding import Measured, Seen, Shown, Untested
from sfumato.studies.lora import attacker, files, members, near
from sfumato.studies.lora.question import Owned, Question

MOST = 100  # pictures of a folder
COLUMNS = 8  # pictures in a row of the page
SIDE = 80


@dataclass(frozen=True, kw_only=True, eq=False)
class Weigher:
    """Looks at the weights of one file after another.

    Attributes:
        base: that they were trained on.
        encoders: trained attackers, by encoder.
        private: pictures that the adapter was trained on; None where they were not given.
        holdout: pictures like them, which it was not trained on.
        folder: what the private pictures' folder is called, for commands.
        likes: files that it may be a copy of.
        prompt: what is on the pictures, as anybody would guess.
        effort, seed: of the attacks.
        tell: progress.
    """

    base: Base
    encoders: dict[str, Autoencoder]
    private: Owned | None = None
    holdout: Owned | None = None
    folder: Path | None = None
    likes: tuple[Path, ...] = ()
    prompt: str = "a photo of person"
    effort: Effort = "quick"
    seed: int = 0
    tell: TellOf = lambda what, done, total: None

    def __call__(self, path: Path) -> Seen:
        """What came of one file. What cannot be attacked stays open, and was asked."""
        seen = weighed.of(path, self.likes)
        try:
            data = formats.read_file(path)
            header = notes.facts_of(read_header(data, name=str(path)))
            adapter = formats.parse(data, name=str(path), config=formats.config_beside(path))
            return _joined(seen, self._attacked(path, adapter, header))
        except UserError as error:
            why = error.got
        except Exception as error:  # a fault of ours with this file takes nothing from the others
            why = faults.keep(error)
        return _joined(seen, Seen(untested=(Untested(what=f"{WHO}, {path}", why=why, asked=True),), answered=frozenset((WHO,))))

    def _attacked(self, path: Path, adapter: Adapter, header: dict[str, object]) -> Seen:
        real = None if self.private is None else self.private.images
        self.tell(f"drawing what is in {path.name}", 0, 0)
        answer, rows = files.attacked(
            self.base, adapter, self.encoders, header=header, real=real, steps=None, seed=self.seed, prompt=self.prompt,
            effort=self.effort,
        )  # fmt: skip
        drawn = [(label, images) for label, images in rows if label not in (files.PRIVATE, files.BASE)]
        knew = f'the file, the base {self.base.public_name} and the words "{self.prompt}"'
        untested = [Untested(what=f"{row}, {path}", why=f"came to nothing: {why}", asked=True) for row, why in answer["failed"].items()]
        if not self.encoders:
            how = f"sfumato attack-weights train --base {shlex.quote(self.base.name)} -o attacker.safetensors"
            untested.append(Untested(what="an attacker that was trained on other people's adapters", why="none for this base", how=how))
        why = "nobody made adapters of known numbers of pictures for this base and recipe: docs/results/weights.md has figures of some"
        untested.append(Untested(what=f"on how many pictures {path} was trained", why=why))
        seen = Seen(
            measured=tuple(Measured(what=f"pictures by {label}", path=str(path), said=f"{len(images)} drawn", n=len(images), knew=knew)
                           for label, images in drawn),
            shown=tuple(Shown(path=str(path), label=one.label, url=one.url)
                        for one in pages.strips([(f"drawn by {label}", images) for label, images in drawn], side=SIDE, columns=COLUMNS)),
            untested=tuple(untested),
        )  # fmt: skip
        if self.private is None:
            how = f"sfumato audit {shlex.quote(str(path))} --base {shlex.quote(self.base.name)} --private PICTURES --holdout OTHERS"
            open_ = Untested(what=WHO, why="pictures were drawn, and no private ones were given to hold them against", how=how)
            return _joined(seen, Seen(untested=(open_,), answered=frozenset((WHO,))))
        floor = next(images for label, images in rows if label == files.BASE)
        asked = Question(path=str(path), knew=knew, fix=self._fix(header))
        seen = _joined(seen, near.of(asked, np.concatenate([images for _, images in drawn]), floor, self.private, self.holdout))
        told = members.of(
            asked, self.base, adapter, self._called(header), self.private, self.holdout, effort=self.effort, seed=self.seed, tell=self.tell
        )
        return _joined(seen, told)

    def _called(self, header: dict[str, object]) -> str:
        """What the training called the pictures, as far as the header tells."""
        triggers = header.get("triggers")
        first, _, last = self.prompt.rpartition(" ")
        return f"{first} {triggers[0]} {last}" if isinstance(triggers, list) and triggers else self.prompt

    def _fix(self, header: dict[str, object]) -> str:
        """Another training that remembers less: half the steps and a small rank. No scrub takes anything out of weights."""
        steps = header.get("steps")
        half = max(1, steps // 2) if isinstance(steps, int) else 100
        folder, base = shlex.quote(str(self.folder)), shlex.quote(self.base.name)
        return f"sfumato finetune {folder} -o again.safetensors --base {base} --rank 4 --steps {half}"


def weigher(
    base: str, *, trained: tuple[Path, ...] = (), private: Path | None = None, holdout: Path | None = None,
    likes: tuple[Path, ...] = (), kind: str | None = None, seed: int = 0, tell: TellOf = lambda what, done, total: None,
) -> Weigher:  # fmt: skip
    """A ``Weigher`` of what a person names.

    Raises:
        UserError: no such base, an attacker of another one, a folder without pictures, one folder in both roles.
    """
    if private is not None and holdout is not None and private.resolve() == holdout.resolve():
        raise UserError(f"--private and --holdout are both {private}", expected="in --holdout pictures that it was not trained on")
    loaded = attacker.base_of(base)
    paths = list(trained) or ([attacker.shipped(loaded)] if loaded.name == DEFAULT else [])
    word = kind or ("peep" if loaded.name == DEFAULT else "person")
    own, other = (None if folder is None else _owned(folder, loaded) for folder in (private, holdout))
    if own is not None and other is not None and {image.tobytes() for image in own.images} & {image.tobytes() for image in other.images}:
        raise UserError(f"{holdout}: holds pictures of {private}", expected="pictures that it was not trained on", fix="take them out")
    return Weigher(
        base=loaded, encoders=attacker.named(loaded, paths), private=own, holdout=other, folder=private, likes=likes,
        prompt=f"a photo of {word}", seed=seed, tell=tell,
    )  # fmt: skip


def _owned(folder: Path, base: Base) -> Owned:
    examples = list(islice(read_folder(folder, size=base.size, condition="canny"), MOST))
    return Owned(images=np.stack([one.image() for one in examples]), people=tuple(one.person for one in examples))


def _joined(one: Seen, two: Seen) -> Seen:
    return Seen(
        findings=one.findings + two.findings, untested=one.untested + two.untested, measured=one.measured + two.measured,
        shown=one.shown + two.shown, answered=one.answered | two.answered,
    )  # fmt: skip
