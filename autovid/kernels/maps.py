"""Plain operations on whole maps whose gradients keep channels_last_3d on CPUs.

torch's own gradients of a strided slice and of a mean come in another layout. Every sum with them is then slow, and so
is what follows, up to the next convolution. In training on a CPU the gradients come from here; else these are torch's
own operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autovid.kernels.depthwise_gradients import Size3
from autovid.kernels.tracing import trains_on_cpu


def every_pixel(x: Tensor, stride: Size3) -> Tensor:
    """Return every stride-th frame, row and column of x (B, C, T, H, W), as a view where all of them are asked for."""
    if stride == (1, 1, 1):
        return x
    if not trains_on_cpu(x):
        return _every(x, stride)
    out: Tensor = _EveryPixel.apply(x, stride)  # type: ignore[no-untyped-call]
    return out


def mean_of_pixels(x: Tensor) -> Tensor:
    """Return the mean (B, C) of x (B, C, T, H, W) over frames and pixels."""
    if not trains_on_cpu(x):
        return x.mean((2, 3, 4))
    out: Tensor = _MeanOfPixels.apply(x)  # type: ignore[no-untyped-call]
    return out


def _every(x: Tensor, stride: Size3) -> Tensor:
    return x[:, :, :: stride[0], :: stride[1], :: stride[2]]


class _EveryPixel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: Size3) -> Tensor:
        ctx.shape, ctx.stride = x.shape, stride
        return _every(x, stride).contiguous(memory_format=torch.channels_last_3d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        b, c, t, h, w = ctx.shape
        out = grad.new_zeros(b, t, h, w, c).permute(0, 4, 1, 2, 3)
        _every(out, ctx.stride).copy_(grad)
        return out, None


class _MeanOfPixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((2, 3, 4))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        shape: torch.Size = ctx.shape
        each = (grad / shape[2:].numel()).view(*grad.shape, 1, 1, 1)
        return each.expand(shape).contiguous(memory_format=torch.channels_last_3d)
