"""Temporal shift: some channels come from the next frame, some from the one before. Free of MACs and parameters.

Lin et al., "TSM: Temporal shift module for efficient video understanding", 2019, arXiv 1811.08383. Clips (B, C, T, H,
W).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.tracing import is_traced


class TemporalShift(nn.Module):
    """A shift of C // `fold_div` of C channels from frame t + 1, as many from t - 1; zeros at the ends.

    `fold_div` is called so in the authors' code.
    """

    def __init__(self, fold_div: int = 8) -> None:
        super().__init__()
        self.fold_div = fold_div

    def forward(self, x: Tensor) -> Tensor:
        fold = x.shape[1] // self.fold_div
        recorded = torch.compiler.is_exporting() or is_traced()
        return _shift_by_padding(x, fold) if recorded else shift(x, fold)


def shift(x: Tensor, fold: int, step: int = 1) -> Tensor:
    """Return x (B, C, T, H, W) with channels [0, fold) from frame t + step and [fold, 2 fold) from frame t - step.

    `step` is 1, or -1 for the other way round, which is also the gradient. One allocation, forward and backward.
    """
    out: Tensor = _Shift.apply(x, fold, step)  # type: ignore[no-untyped-call]
    return out


def _shift_by_padding(x: Tensor, fold: int) -> Tensor:
    """Shift without writing into slices, for which ONNX has no good operation."""
    early, late, rest = torch.split(x, [fold, fold, x.shape[1] - 2 * fold], 1)
    return torch.cat([F.pad(early[:, :, 1:], (0, 0, 0, 0, 0, 1)), F.pad(late[:, :, :-1], (0, 0, 0, 0, 1, 0)), rest], 1)


class _Shift(torch.autograd.Function):
    """The shift with its own gradient: autograd would clone the gradient once for every slice that is written."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fold: int, step: int) -> Tensor:
        ctx.fold, ctx.step = fold, step
        early, late = (slice(0, fold), slice(fold, 2 * fold))[::step]  # from the next frame; from the one before
        out = x.clone()  # faster than to copy the channels that stay, one slice more
        out[:, early, :-1] = x[:, early, 1:]
        out[:, early, -1:] = 0
        out[:, late, 1:] = x[:, late, :-1]
        out[:, late, :1] = 0
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return shift(grad, ctx.fold, -ctx.step), None, None
