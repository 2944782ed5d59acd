"""What the machine computes fast, and where."""

from __future__ import annotations

import os

import torch

from sfumato.core.errors import UserError

VARIABLE = "SFUMATO_DEVICE"
NATIVE_BF16 = (8, 0)  # compute capability: older cards only emulate it, slower than float32


def choose_device() -> str:
    """Where networks go: ``SFUMATO_DEVICE`` where it is set, else ``cuda`` where there is one, else ``cpu``.

    Of several processes that ``torchrun`` started, each gets a card of its own.

    Raises:
        UserError: the variable names no device.
    """
    if asked := os.environ.get(VARIABLE, ""):
        try:
            return str(torch.device(asked))
        except RuntimeError as error:
            raise UserError(f"{VARIABLE}={asked!r}", expected="a device such as cpu, cuda or cuda:1") from error
    if not torch.cuda.is_available():
        return "cpu"
    rank = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{int(rank) % torch.cuda.device_count()}" if rank.isdecimal() else "cuda"


def choose_precision(device: torch.device | str | None = None) -> str:
    """``bf16`` where the hardware multiplies it natively, else ``no``: emulated bf16 is several times slower than float32.

    Args:
        device: where the networks are; by default where ``choose_device`` puts them.
    """
    place = torch.device(choose_device() if device is None else device)
    if place.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(place) >= NATIVE_BF16 else "fp16"
    if place.type != "cpu":
        return "no"
    capabilities = torch.backends.cpu.get_cpu_capability()
    native = any(getattr(torch.cpu, f"_is_{name}_supported", lambda: False)() for name in ("avx512_bf16", "amx_tile"))
    return "bf16" if native and capabilities.startswith("AVX512") else "no"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Compute in ``precision`` (``no`` for float32, ``bf16``, ``fp16``) inside a ``with``."""
    kinds = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in kinds:
        raise UserError(f"precision {precision!r}", expected=", ".join(kinds))
    return torch.autocast(device.type, torch.bfloat16 if precision == "no" else kinds[precision], enabled=precision != "no")
