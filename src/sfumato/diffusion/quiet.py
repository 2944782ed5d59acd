"""Keep the model libraries' notices and bars off the screen of a command."""

from __future__ import annotations

import os
import sys

_asked: list[bool] = []


def quiet_libraries() -> None:
    """Only errors are shown from here on. Must run before a base is loaded; never called at import.

    No library is loaded for it: a command that ends in an error at once does not wait for them.
    """
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _asked.append(True)
    if "diffusers" in sys.modules and "transformers" in sys.modules:  # they have looked at that already
        hush()


def hush() -> None:
    """Tell the libraries themselves, where a command asked for it; it is about to use them."""
    if not _asked:
        return
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    _asked.clear()
