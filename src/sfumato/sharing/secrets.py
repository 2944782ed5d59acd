"""Passwords and tokens in text, by ``detect-secrets`` where it is installed: its detectors, offline, without its entropy guesses.

It does not know every shape; a line is shown to it only where a word or a beginning speaks for one, since it takes milliseconds a line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_LIKELY = re.compile(
    r"token|secret|passw|pwd|api.?key|access.?key|private key|credential|authorization|bearer|AKIA|gh[pousr]_|glpat-|xox[abp]-|sk_live|eyJ"
    r"|://[^/\s:@]+:[^/\s:@]+@",
    re.IGNORECASE,
)
_HUB = re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")  # of a model hub, which the library does not know
_GUESSES = ("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector")
_NOT_KEYS = ("tokenizer", "token_embedding", "num_tokens", "max_token", "pad_token", "bos_token", "eos_token", "unk_token", "keep_tokens")


@lru_cache(maxsize=1)
def installed() -> bool:
    """Whether the library is there."""
    try:
        import detect_secrets  # noqa: F401
    except ImportError:
        return False
    return True


def secrets(text: str) -> list[tuple[int, str]]:
    """Line number and kind of whatever looks like a secret in ``text``; its value is not given."""
    rows = [(number, line) for number, line in enumerate(text.splitlines(), 1) if len(line) <= 10_000]
    found = [(number, "a model hub's token") for number, line in rows if _HUB.search(line)]
    likely = [(number, line) for number, line in rows if _LIKELY.search(line) and not any(word in line for word in _NOT_KEYS)]
    if likely and installed():
        from detect_secrets.core import scan
        from detect_secrets.settings import transient_settings

        with transient_settings(_settings()):
            found += [(number, secret.type) for number, line in likely for secret in scan.scan_line(line)]
    return list(dict.fromkeys(found))


@lru_cache(maxsize=1)
def _settings() -> dict[str, Any]:
    """Every detector but guesses, and no filter: one of the usual ones would ask servers."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    kinds: dict[str, Any] = get_mapping_from_secret_type_to_class()
    names = {kind.__name__ for kind in kinds.values()}
    return {"plugins_used": [{"name": name} for name in sorted(names - set(_GUESSES))], "filters_used": []}
