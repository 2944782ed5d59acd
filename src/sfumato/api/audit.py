"""``audit``: what do these files give away, before they are shared?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.sharing import audit as sharing
from sfumato.sharing import policy as policies
from sfumato.sharing import weighed
from sfumato.sharing.finding import Report, Seen

__all__ = ["Report", "audit"]


def audit(
    paths: str | Path | Iterable[str | Path],
    *,
    policy: str | Path | None = None,
    baseline: str | Path | None = None,
    like: str | Path | Iterable[str | Path] = (),
    base: str | None = None,
    attacker: str | Path | Iterable[str | Path] = (),
    private: str | Path | None = None,
    holdout: str | Path | None = None,
    kind: str | None = None,
    seed: int = 0,
    on_path: Callable[[Path], None] = lambda path: None,
    on_progress: TellOf = lambda what, done, total: None,
) -> Report:
    """Say what files and folders give away, read off them without a network, a base or a GPU.

    Headers, names, notes of pictures and small texts are read. Of the weights of an adapter that
    is named itself only the spectrum is, unless a base is named: then it is attacked, as
    ``sfumato attack-weights run`` does, and held against the private pictures where they are given.

    Args:
        paths: safetensors files (an adapter of any program, a ControlNet, a whole checkpoint), or
            folders that are to be pushed.
        policy: a TOML file that says what fails, and what passes for which reason.
        baseline: an earlier report as JSON; what stands there passes.
        like: other adapters: is this a copy of one, or a merge with it?
        base: the base that the adapters were trained on: ``tiny``, a folder, or a hub id.
        attacker: files that ``sfumato attack-weights train`` wrote; by default the one that ships,
            where the base is the one that it is for.
        private: a folder of the pictures that an adapter was trained on; asks for ``base``.
        holdout: a folder of pictures like them that it was not trained on.
        kind: what is on the pictures, as a common word.
        seed: of the attacker's draws.
        on_path: told about each path before it is looked at.
        on_progress: told how far an attack is: of what, what is done, and of how much.

    Returns:
        the findings, the worst first, what was measured, what was not tested, and the exit code
        of the command.

    Raises:
        UserError: a path that is not there, a policy or baseline that is none, or pictures or an
            attacker without a base.

    Examples:
        >>> report = sfumato.audit("lora.safetensors")
        >>> [one.rule for one in report.findings if one.level == "high"]
        []
    """
    several = _paths(paths)
    rules = None if policy is None else policies.read(Path(policy))
    before = set() if baseline is None else policies.baseline(Path(baseline))
    weigh = _weigh(_paths(like), base, _paths(attacker), private, holdout, kind, seed, on_progress)
    return sharing.audit(several, policy=rules, before=before, on_path=on_path, weigh=weigh)


def _weigh(
    likes: tuple[Path, ...], base: str | None, attackers: tuple[Path, ...], private: str | Path | None, holdout: str | Path | None,
    kind: str | None, seed: int, tell: TellOf,
) -> Callable[[Path], Seen] | None:  # fmt: skip
    """Who looks at weights beyond their spectrum: without a base nothing that takes long to load."""
    for other in likes:
        if not other.is_file():
            raise UserError(f"{other}: no such file", expected="another adapter, as .safetensors")
    if base is None:
        asked = {"--attacker": attackers, "--private": private, "--holdout": holdout, "--class": kind}
        if given := [name for name, value in asked.items() if value]:
            raise UserError(f"{given[0]} without --base", expected="the base that the adapter was trained on", fix="add --base")
        return partial(weighed.of, others=likes) if likes else None
    if holdout is not None and private is None:
        raise UserError("--holdout without --private", expected="the pictures that it was trained on, too")
    if kind is not None and not kind.strip():
        raise UserError("--class with no word", expected="what is on the pictures, as a common word")
    from sfumato.studies.lora.audit import weigher

    own, unseen = (None if folder is None else Path(folder) for folder in (private, holdout))
    return weigher(base, trained=attackers, private=own, holdout=unseen, likes=likes, kind=kind, seed=seed, tell=tell)


def _paths(said: str | Path | Iterable[str | Path]) -> tuple[Path, ...]:
    return (Path(said),) if isinstance(said, str | Path) else tuple(Path(one) for one in said)
