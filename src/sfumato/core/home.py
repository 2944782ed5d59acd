"""Where what belongs to this user lies: keys, ledgers, known owners, faults."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``$SFUMATO_HOME``, or ``~/.sfumato``."""
    return Path(os.environ.get("SFUMATO_HOME") or Path.home() / ".sfumato")
