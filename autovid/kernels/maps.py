"""Operations on whole maps that are fast on CPUs and keep channels_last_3d: pointwise convolution, slices, means.

The gradients of torch for a strided slice and for a mean come in another layout. Every sum with them is then slow, and
so is what follows, up to the next convolution. In training on a CPU the gradients come from here; else these are
operations of torch.

Three things that torch does in a pointwise (1x1x1) convolution on CPUs are avoided here. With one thread and a batch
below 16, and with several for one small clip, it leaves oneDNN for a kernel whose output is contiguous: every layer
after it then loses the fast layout. A matrix product in its place is slow where few channels meet many pixels, as MKL
has it: by 1.5 to 4 times. And with a stride, its weight gradient overruns the workspace of oneDNN if fewer than 8
(AVX2) or 16 (AVX-512) channels come in, which corrupts memory: github.com/uxlfoundation/oneDNN/issues/6035.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from autovid.kernels.chosen import current_kernels
from autovid.kernels.depthwise import Size3
from autovid.kernels.tracing import is_recorded, trains_on_cpu

IMAGES = 16  # the smallest batch that torch gives to oneDNN on one thread
SMALL = 20480  # of one clip: C * T * H up to which torch leaves oneDNN, however many threads there are
PIXELS = 5000  # pixels of a map from which on oneDNN is as fast as a matrix product of MKL, or faster
MACS = 2_500_000  # from which on it is faster also where MKL is slow, as on AMD's processors: by 2 where both are large


def pointwise_conv3d(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    """Convolve 1x1x1 x (B, C, T, H, W) with weight (D, C, 1, 1, 1), and add a bias (D,) if there is one.

    Returns (B, D, ceil(T / st), ceil(H / sh), ceil(W / sw)).
    """
    if x.device.type != "cpu" or is_recorded():
        return F.conv3d(x, weight, bias, stride)
    x = every_pixel(x, stride).contiguous(memory_format=torch.channels_last_3d)
    if torch.get_num_threads() > 1 and x.shape[:4].numel() > (SMALL if x.shape[0] == 1 else 0):
        return F.conv3d(x, weight, bias)
    return (convolve_images if _is_for_images(x, weight.shape[0]) else multiply_pixels)(x, weight, bias)


def few_frames(x: Tensor, stride: Size3) -> bool:
    """Return True where a 1x1 convolution of the frames of x as images would leave oneDNN, and take twice as long."""
    if x.device.type != "cpu" or is_recorded() or torch.get_num_threads() > 1 or stride[1:] != (1, 1):
        return False  # a recorded shape would bind the program to it
    return x.shape[0] * -(-x.shape[2] // stride[0]) < IMAGES and _has_onednn(x)


def convolve_images(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve a map in channels_last_3d, on one thread: frames as images, or where they are few, rows of pixels."""
    pixels = x.permute(0, 2, 3, 4, 1)
    rows = pixels.flatten(0, 2) if x.shape[0] * x.shape[2] < IMAGES else pixels.flatten(0, 1).flatten(1, 2)
    out = F.conv2d(rows.unsqueeze(1).permute(0, 3, 1, 2), weight[..., 0], bias).permute(0, 2, 3, 1)
    return out.reshape(*pixels.shape[:4], weight.shape[0]).permute(0, 4, 1, 2, 3)


def multiply_pixels(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve a map in channels_last_3d as one product of two matrices.

    With more dimensions torch may choose another product by what needs a gradient.
    """
    pixels = x.permute(0, 2, 3, 4, 1)
    out = F.linear(pixels.reshape(-1, x.shape[1]), weight.flatten(1), bias)
    return out.view(*pixels.shape[:4], weight.shape[0]).permute(0, 4, 1, 2, 3)


def _is_for_images(x: Tensor, width: int) -> bool:
    """Return True if a convolution of images, frames or rows of pixels, is the fastest: large, in fp32, by oneDNN.

    `width`: of what comes out.
    """
    large = x.numel() >= PIXELS * x.shape[1]
    heavy = current_kernels().pointwise == "images" and x.numel() * width >= MACS
    return (large or heavy) and x.shape[0] * x.shape[2] * x.shape[3] >= IMAGES and _has_onednn(x)


def _has_onednn(x: Tensor) -> bool:
    return (
        x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


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
