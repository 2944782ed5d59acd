"""Structural similarity with a Gaussian window (Wang et al. 2004), as scikit-image computes it with its paper settings."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.core.errors import UserError

RADIUS = 5  # window 11 x 11: a standard deviation of 1.5 cut at 3.5 of them


def ssim(a: Tensor, b: Tensor, *, data_range: float | None = None) -> Tensor:
    """SSIM of pictures, the mean over channels and over the pixels whose window lies inside the picture.

    Args:
        a, b: pictures ``(N, C, H, W)``, H and W at least 11: uint8, or floating point.
        data_range: largest minus smallest possible value; 255 for uint8, to be given for floating point.

    Returns:
        ``(N,)``, float64 for float64 and uint8 pictures, else float32; 1 for equal pictures.
    """
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[-2:]) <= 2 * RADIUS:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise UserError(f"pictures of shapes {shapes}", expected="two of the same shape (N, C, H, W), at least 11x11")
    if data_range is None:
        if a.dtype != torch.uint8 or b.dtype != torch.uint8:
            raise UserError(f"pictures of dtype {a.dtype} and no data_range", expected="uint8, or data_range=1 for [0, 1], 2 for [-1, 1]")
        data_range = 255.0
    dtype = torch.float64 if a.dtype in (torch.uint8, torch.float64) else torch.float32
    n, c, h, w = a.shape
    x, y = (p.to(dtype).reshape(n * c, h, w) for p in (a, b))
    offset = torch.arange(-RADIUS, RADIUS + 1, dtype=dtype, device=a.device)
    window = torch.exp(-(offset**2) / (2 * 1.5**2))
    window = window / window.sum()

    down, across = _band(window, h), _band(window, w)

    def local(image: Tensor) -> Tensor:
        return down @ image @ across.T  # some five times as fast as convolutions in float64

    mu_x, mu_y = local(x), local(y)
    var_x, var_y, cov = local(x * x) - mu_x**2, local(y * y) - mu_y**2, local(x * y) - mu_x * mu_y
    c_1, c_2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    score = (2 * mu_x * mu_y + c_1) * (2 * cov + c_2) / ((mu_x**2 + mu_y**2 + c_1) * (var_x + var_y + c_2))
    return score.reshape(n, -1).mean(dim=1)


def _band(window: Tensor, size: int) -> Tensor:
    """What takes a column of ``size`` values to the window's weighted means inside it: ``(size - 2 RADIUS, size)``."""
    band = window.new_zeros((size - 2 * RADIUS, size))
    for row in range(len(band)):
        band[row, row : row + len(window)] = window
    return band
