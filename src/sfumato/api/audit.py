"""``audit``: what do these files give away, before they are shared?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sfumato.sharing import audit as sharing
from sfumato.sharing import policy as policies
from sfumato.sharing.finding import Report

__all__ = ["Report", "audit"]


def audit(
    paths: str | Path | Iterable[str | Path],
    *,
    policy: str | Path | None = None,
    baseline: str | Path | None = None,
    on_path: Callable[[Path], None] = lambda path: None,
) -> Report:
    """Say what files and folders give away, read off them without a network, a base or a GPU.

    Headers, names, notes of pictures and small texts are read; no weight is. What is in the
    weights stands among what was not tested.

    Args:
        paths: safetensors files (an adapter of any program, a ControlNet, a whole checkpoint), or
            folders that are to be pushed.
        policy: a TOML file that says what fails, and what passes for which reason.
        baseline: an earlier report as JSON; what stands there passes.
        on_path: told about each path before it is looked at.

    Returns:
        the findings, the worst first, what was not tested, and the exit code of the command.

    Raises:
        UserError: a path that is not there, or a policy or baseline that is none.

    Examples:
        >>> report = sfumato.audit("lora.safetensors")
        >>> [one.rule for one in report.findings if one.level == "high"]
        []
    """
    several = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    rules = None if policy is None else policies.read(Path(policy))
    before = set() if baseline is None else policies.baseline(Path(baseline))
    return sharing.audit(several, policy=rules, before=before, on_path=on_path)
