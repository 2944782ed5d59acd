"""What an audit finds: findings, what it could not test, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Literal

Level = Literal["high", "medium", "low", "note"]
LEVELS: tuple[Level, ...] = ("high", "medium", "low", "note")
SCHEMA = 1
SHOWN = 3  # examples in a line


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One thing that is looked for.

    Attributes:
        level: how much it gives away. A ``note`` is said, and is no finding: a model's users need it.
        reveals: what whoever has the file learns, in one plain line.
        certain: whether it is there beyond doubt; else it looks so, by a rule that can be wrong.
        fix: what takes it away: ``scrub`` (of a file), ``leave out`` (of a folder), or nothing.
    """

    level: Level
    reveals: str
    certain: bool = True
    fix: Literal["scrub", "leave out", ""] = "scrub"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        rule: its name in ``rules.RULES``.
        level, certain, reveals: the rule's.
        path: the file, as it was named, or relative to the folder that was named.
        place: where in the file: the notes of a header, a line.
        examples: what stands there, shortened.
        count: how many there are.
        fix: a command that can be pasted, or a sentence.
        ignored: why a policy or a baseline lets it pass; empty where none does.
    """

    rule: str
    level: Level
    certain: bool
    reveals: str
    path: str
    place: str = ""
    examples: tuple[str, ...] = ()
    count: int = 1
    fix: str = ""
    ignored: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same finding in another report."""
        return self.rule, self.path, self.place


@dataclass(frozen=True, kw_only=True, slots=True)
class Untested:
    """What was not tested: never to be read as clean.

    Attributes:
        what: the question.
        why: why it is open.
        how: what would test it.
        asked: whether somebody asked, so that the audit failed where it stays open.
    """

    what: str
    why: str
    how: str = ""
    asked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One figure of a file's weights.

    Attributes:
        what: its name: ``spectrum of the UNet``, ``membership by pia``.
        path: the file, as it was named.
        said: a line for a person, with the figure.
        value, low, high: the figure and its 95 % interval, where it has one.
        chance: what a guess gets, where that is known.
        n: how many pictures, layers or people it rests on.
        knew: what whoever measured had beside the file; empty where that was nothing.
    """

    what: str
    path: str
    said: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    n: int = 0
    knew: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A row of pictures: what a page shows and other formats name.

    Attributes:
        path: the file that they are about.
        label: what they are, for people and screen readers.
        url: the pictures, as ``data:``; it stands on pages alone.
    """

    path: str
    label: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What was found of one file by whoever looks at weights.

    Attributes:
        findings, untested, measured, shown: as in ``Report``.
        answered: questions (``Untested.what``) that are not open any more.
    """

    findings: tuple[Finding, ...] = ()
    untested: tuple[Untested, ...] = ()
    measured: tuple[Measured, ...] = ()
    shown: tuple[Shown, ...] = ()
    answered: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What came of an audit.

    Attributes:
        audited: what each named path is, by path: one line for a person.
        findings: the worst first.
        untested: what stays open.
        fail_on: the lowest level that fails.
        files, bytes: how many were looked at.
        measured: figures of the weights.
        shown: pictures that a page shows.
    """

    audited: dict[str, str]
    findings: tuple[Finding, ...]
    untested: tuple[Untested, ...]
    fail_on: Level = "low"
    files: int = 0
    bytes: int = 0
    measured: tuple[Measured, ...] = ()
    shown: tuple[Shown, ...] = ()
    schema: int = field(default=SCHEMA)

    @property
    def failing(self) -> tuple[Finding, ...]:
        """The findings that fail: of the level that was asked or worse, and not ignored."""
        worst = LEVELS[: LEVELS.index(self.fail_on) + 1]
        return tuple(one for one in self.findings if one.level in worst and not one.ignored)

    @property
    def attacked(self) -> bool:
        """Whether anybody with a base looked at weights, and what came of it was held against the truth."""
        return any(one.knew and one.low is not None for one in self.measured)

    @property
    def level(self) -> str:
        """The verdict in a word: ``high``, ``medium``, ``low`` or ``not tested``, which is never clean.

        ``low`` is said of what was attacked to no avail, too, for no attack is the last.
        """
        worst = next((level for level in LEVELS[:-1] for one in self.failing if one.level == level), "")
        open_ = any(one.asked for one in self.untested) or not self.attacked
        return worst or ("not tested" if open_ else "low")

    @property
    def exit_code(self) -> int:
        """1 where a finding fails, else 2 where something that was asked could not be tested, else 0."""
        if self.failing:
            return 1
        return 2 if any(one.asked for one in self.untested) else 0

    def as_json(self) -> dict[str, Any]:
        """For JSON: the same fields without pictures, the verdict's level, and the exit code."""
        said = asdict(self)
        said["shown"] = [{"path": one.path, "label": one.label} for one in self.shown]
        return {**said, "level": self.level, "failing": len(self.failing), "exit_code": self.exit_code}


def sorted_by_level(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, then by file and place."""
    return tuple(sorted(findings, key=lambda one: (LEVELS.index(one.level), one.path, one.rule)))


def shortened(texts: Iterable[Any], most: int = SHOWN, width: int = 80) -> tuple[str, ...]:
    """The first few, each of at most ``width`` characters."""
    chosen = [" ".join(str(text)[: 10 * width].split()) for text in islice(texts, most)]
    return tuple(text if len(text) <= width else text[: width - 1] + "…" for text in chosen)
