"""Closed sets of choices, for help, shell completion and the exit code of a wrong one.

Help is shown without the rooms that own them; ``tests/cli/test_choices.py`` holds each against its owner.
"""

from __future__ import annotations

from enum import StrEnum


class Effort(StrEnum):
    """``attacker.attempt.EFFORTS``."""

    GLANCE = "glance"
    QUICK = "quick"
    FULL = "full"


class Lasting(StrEnum):
    """The efforts of attacks on weights: none of these is left out for its time."""

    QUICK = "quick"
    FULL = "full"


class Crop(StrEnum):
    """``owner.picture_file.CROPS``."""

    CENTER = "center"
    PAD = "pad"
    NONE = "none"


class Privacy(StrEnum):
    """``records.presets.LEVELS``."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AdapterFormat(StrEnum):
    """``adapters.formats.FORMATS``."""

    DIFFUSERS = "diffusers"
    KOHYA = "kohya"


class AdapterPrecision(StrEnum):
    """What ``adapters.dreambooth`` computes in."""

    NO = "no"
    BF16 = "bf16"


class Precision(StrEnum):
    """What ``server.fit`` computes in, and ``auto`` for what suits this machine."""

    AUTO = "auto"
    NO = "no"
    BF16 = "bf16"
    FP16 = "fp16"
