"""What the machine computes fast."""

from __future__ import annotations

import torch

from sfumato.core.errors import UserError


def choose_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision() -> str:
    """``bf16`` where the hardware multiplies it natively, else ``no``: emulated bf16 is several times slower than float32."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    capabilities = torch.backends.cpu.get_cpu_capability()
    native = any(getattr(torch.cpu, f"_is_{name}_supported", lambda: False)() for name in ("avx512_bf16", "amx_tile"))
    return "bf16" if native and capabilities.startswith("AVX512") else "no"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Compute in ``precision`` (``no`` for float32, ``bf16``, ``fp16``) inside a ``with``."""
    kinds = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in kinds:
        raise UserError(f"precision {precision!r}", expected=", ".join(kinds))
    return torch.autocast(device.type, torch.bfloat16 if precision == "no" else kinds[precision], enabled=precision != "no")
