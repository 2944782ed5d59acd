"""The noise schedule: ``z_t = alpha_t z_0 + sigma_t eps`` with ``alpha_t = sqrt(alpha_bar_t)``.

A *step* is an index 0 .. T - 1 of the schedule, or ``None`` (stored as -1) for "not noised at all": index 0 is not clean.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from sfumato.core.errors import UserError

CLEAN = -1


@dataclass(frozen=True)
class Schedule:
    """``alpha_bar`` float64 of shape ``(T,)``, falling, every value in (0, 1)."""

    alpha_bar: torch.Tensor
    _table: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bar = self.alpha_bar.double()
        if bar.ndim != 1 or not bool(((bar > 0) & (bar < 1)).all()) or not bool((bar.diff() < 0).all()):
            raise UserError(
                "alpha_bar must fall strictly and lie in (0, 1); a zero-terminal-SNR schedule cannot be sealed at its last step"
            )
        object.__setattr__(self, "alpha_bar", bar)
        object.__setattr__(self, "_table", torch.cat([bar, torch.ones(1, dtype=torch.float64)]))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha_bar)

    def alpha(self, t: torch.Tensor | int | None) -> torch.Tensor:
        """``alpha_t``, float64; 1 where t is ``None`` or -1."""
        return self._table[self._index(t)].sqrt()

    def sigma(self, t: torch.Tensor | int | None) -> torch.Tensor:
        """``sigma_t``, float64; 0 where t is ``None`` or -1."""
        return (1 - self._table[self._index(t)]).sqrt()

    def add_noise(self, z_0: torch.Tensor, t: torch.Tensor | int | None, eps: torch.Tensor) -> torch.Tensor:
        """``z_t = alpha_t z_0 + sigma_t eps`` of latents ``(B, C, h, w)``, in the type that ``z_0`` has.

        Args:
            z_0, eps: latents and noise.
            t: a step for all, or ``(B,)`` of them; one in front of it is one in front of ``z_t``.
        """
        alpha, sigma = (x.to(z_0).view(*x.shape, 1, 1, 1) for x in (self.alpha(t), self.sigma(t)))
        return alpha * z_0 + sigma * eps

    def _index(self, t: torch.Tensor | int | None) -> torch.Tensor:
        index = torch.as_tensor(CLEAN if t is None else t).long().cpu()
        if bool(((index < CLEAN) | (index >= self.steps)).any()):
            raise UserError(f"step {index.tolist()} is outside the schedule: expected 0 ... {self.steps - 1}, or none for clean")
        return index
