"""Depthwise 3-D convolution that trains fast on CPUs.

The forward pass is the `conv3d` of torch, and so is everything off the CPU, traced, compiled or without gradient. In
training on a CPU the gradients come from here: torch (oneDNN) has a fast forward kernel for depthwise 3-D convolution
and fast kernels in both directions for 2-D, but its 3-D backward passes take 5 to 30 times as long as the forward. So

- the input gradient is a forward convolution with the flipped kernel, one for each phase of the stride;
- the weight gradient is one 2-D weight gradient for each temporal tap, over all frames of the batch laid end to end;
- on small maps it is a matrix product: of all pixels of the input with all pixels of the gradient, channel by channel,
  of which each spatial tap is the sum of some entries;
- kernels of one frame (1 x k x k) and of one pixel (t x 1 x 1) are 2-D problems to begin with.

The gradients expect channels_last_3d tensors, odd kernels and padding k // 2. Legend: B batch, C channels, T frames,
H rows, W columns; N images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from autovid.kernels.chosen import Kernels, current_kernels
from autovid.kernels.tracing import is_recorded, trains_on_cpu

Size2 = tuple[int, int]
Size3 = tuple[int, int, int]


def torch_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], of_weight: bool) -> Tensor:
    """Return torch's own gradient of a 2-D or 3-D depthwise convolution, of its weight or of its input x."""
    padding = [size // 2 for size in weight.shape[2:]]
    ones, zeros, mask = [1] * len(padding), [0] * len(padding), [not of_weight, of_weight, False]
    grads: Sequence[Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, list(stride), padding, ones, False, zeros, x.shape[1], mask
    )
    return grads[of_weight]


def is_planar(kernel: Sequence[int], stride: Size3) -> bool:
    """Return True for a kernel (kt, kh, kw) of one frame or one pixel, whose convolution is a 2-D one."""
    return (kernel[0], stride[0]) == (1, 1) or (*kernel[1:], *stride[1:]) == (1, 1, 1, 1)


def planar_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, of_weight: bool) -> Tensor:
    """Gradient by torch's 2-D kernels: images of H x W for a kernel of one frame, of T x HW for one of one pixel."""
    if weight.shape[2] == stride[0] == 1:
        frames = x.transpose(1, 2)
        out = torch_gradient(
            grad.transpose(1, 2).flatten(0, 1), frames.flatten(0, 1), weight[:, :, 0], stride[1:], of_weight
        )
        return out.unsqueeze(2) if of_weight else out.reshape(frames.shape).transpose(1, 2)
    out = torch_gradient(grad.flatten(3), x.flatten(3), weight[..., 0], (stride[0], 1), of_weight)
    return out.unsqueeze(4) if of_weight else out.reshape(x.shape)


def flipped_input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """Input gradient of shape x: pixels of one phase of the stride meet one subset of the taps, so a forward
    convolution of grad with those taps, flipped, gives them."""
    if stride == (1, 1, 1):
        return _flipped_phase(grad, x, weight, stride, (0, 0, 0))
    out = torch.empty_like(x)
    for phase in itertools.product(range(stride[0]), range(stride[1]), range(stride[2])):
        part = out[:, :, phase[0] :: stride[0], phase[1] :: stride[1], phase[2] :: stride[2]]
        if part.numel():
            part.copy_(_flipped_phase(grad, x, weight, stride, phase))
    return out


def _flipped_phase(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, phase: Size3) -> Tensor:
    """Gradient at the pixels i = s * j + a of each dimension, s its stride and a its phase: the sum over q of
    grad[j + shift - q] * weight[first + s * q], where (shift, first) = divmod(a + padding, s).
    """
    padding: list[int] = []
    inside: list[slice] = [slice(None), slice(None)]
    for dim, (s, a) in enumerate(zip(stride, phase), start=2):
        shift, first = divmod(a + weight.shape[dim] // 2, s)
        weight = weight[(slice(None),) * dim + (slice(first, None, s),)]
        pixels = len(range(a, x.shape[dim], s))
        before, after = weight.shape[dim] - 1 - shift, pixels + shift - grad.shape[dim]
        padding.append(max(before, after, 0))
        inside.append(slice(padding[-1] - before, padding[-1] - before + pixels))
    if not weight.numel():
        return grad.new_zeros(())
    return convolve(grad, weight.flip(2, 3, 4), (1, 1, 1), padding)[tuple(inside)]


def convolve(x: Tensor, weight: Tensor, stride: Size3, padding: Sequence[int], bias: Tensor | None = None) -> Tensor:
    """Convolve by torch's depthwise `conv3d`; for a kernel of one pixel by `conv2d`, faster on one thread."""
    if (*weight.shape[3:], *stride[1:], *padding[1:]) != (1, 1, 1, 1, 0, 0):
        return F.conv3d(x, weight, bias, stride, tuple(padding), groups=x.shape[1])
    out = F.conv2d(x.flatten(3), weight[..., 0], bias, (stride[0], 1), (padding[0], 0), groups=x.shape[1])
    return out.reshape(*out.shape[:3], *x.shape[3:])


def frames_weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, columns: int) -> Tensor:
    """Return the weight gradient by 2-D ones of at most `columns` (odd) kernel columns. The stride in time must be 1.

    All frames lie end to end, with empty frames between clips and, if the kernel is split, empty columns between rows:
    then a shift by frames and columns is a shift along the buffer, that is a view of it.
    """
    (kt, _, kw), (_, sh, sw), height = weight.shape[2:], stride, x.shape[3]
    gap, half = kt // 2, min(kw, columns) // 2
    shift = kw // 2 - half  # from the kernel's centre to that of the outermost group of columns
    left, right = (1, max(1, -(-(kw // 2) // sw) - 1)) if shift else (0, 0)
    width_g = left + grad.shape[4] + right
    width_x = sw * width_g if shift else x.shape[4]
    count = x.shape[0] * (x.shape[2] + gap) - gap
    grads = _images(_end_to_end(grad, (0, gap), left, width_g, 0), 0, (count, grad.shape[3], width_g))
    buffer = _end_to_end(x, (gap, gap), sw * left, width_x, shift)
    out = torch.empty_like(weight)
    for tap in range(kt):
        for centre in sorted({min(c, shift) for c in range(-shift, shift + columns, columns)}):
            images = _images(buffer, shift + tap * height * width_x + centre, (count, height, width_x))
            part = out[:, :, tap, :, shift + centre : shift + centre + 2 * half + 1]
            part.copy_(torch_gradient(grads, images, part, (sh, sw), of_weight=True))
    return out


PAIRS = 40 * 40  # pairs of pixels up to which their products, of which most are in vain, stay cheap


def is_small(grad: Tensor, x: Tensor, kernel: Sequence[int], stride: Size3) -> bool:
    """Return True if `pairs_weight_gradient` is fastest: on maps smaller than the kernel, where oneDNN has no fast 2-D
    weight gradient (10 to 100 times, as measured); on larger ones it has a better one. No stride in time.
    """
    smaller = any(size < k + s - 1 for size, k, s in zip(x.shape[3:], kernel[1:], stride[1:]))
    return smaller and stride[0] == 1 and x.shape[3:].numel() * grad.shape[3:].numel() <= PAIRS


def pairs_weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """Return the weight gradient by products of all pairs of input and gradient pixels, summed over clips and frames.

    For each temporal tap one batched product C x (pixels, B T) x (B T, pixels); which pairs belong to which spatial tap
    is a constant matrix of zeros and ones. The stride in time must be 1.
    """
    (channels, _, kt, kh, kw), frames = weight.shape, x.shape[2]
    x_CTBP, grad_CTBQ = (y.permute(1, 2, 0, 3, 4).flatten(3).contiguous() for y in (x, grad))
    taps_PS = _pairs(tuple(x.shape[3:]), tuple(grad.shape[3:]), (kh, kw), stride[1:]).to(x.dtype)
    out = x.new_zeros(channels, kt, kh * kw)
    for tap in range(kt):
        shift = tap - kt // 2  # the input frame that meets gradient frame t is t + shift
        first, last = max(0, shift), min(frames, frames + shift)
        if first < last:
            inputs = x_CTBP[:, first:last].flatten(1, 2).transpose(1, 2)
            products_CPQ = inputs @ grad_CTBQ[:, first - shift : last - shift].flatten(1, 2)
            out[:, tap] = products_CPQ.flatten(1) @ taps_PS
    return out.view(weight.shape)


@lru_cache(maxsize=256)
def _pairs(size: Size2, size_out: Size2, kernel: Size2, stride: Size2) -> Tensor:
    """(pixels of the input x pixels of the output, taps): 1 where a tap takes this input to this output."""

    def line(length: int, length_out: int, k: int, s: int) -> Tensor:
        i, o, tap = torch.arange(length), torch.arange(length_out), torch.arange(k)
        return (i[:, None, None] == o[None, :, None] * s + tap - k // 2).float()

    rows, columns = (line(*of) for of in zip(size, size_out, kernel, stride))
    both = rows[:, None, :, None, :, None] * columns[None, :, None, :, None, :]  # h, w, h out, w out, tap, tap
    return both.reshape(-1, kernel[0] * kernel[1])


def _end_to_end(x: Tensor, gaps: tuple[int, int], left: int, width: int, slack: int) -> Tensor:
    """x (B, C, T, H, W) as pixels (P, C): gaps[0] empty frames, then each clip and gaps[1] empty frames, rows widened
    to `width` with `left` empty columns before them; `slack` empty pixels at either end."""
    (clips, channels, frames, height, columns), (before, after) = x.shape, gaps
    frame = height * width
    pixels = x.new_zeros(2 * slack + (before + clips * (frames + after)) * frame, channels)
    start = slack + before * frame
    inner = pixels[start : pixels.shape[0] - slack].view(clips, frames + after, height, width, channels)
    inner[:, :frames, :, left : left + columns].copy_(x.permute(0, 2, 3, 4, 1))
    return pixels


def _images(pixels: Tensor, start: int, shape: Size3) -> Tensor:
    """Pixels (P, C) from `start` on as images (N, C, H, W), shape (N, H, W)."""
    count, height, width = shape
    return pixels[start : start + count * height * width].view(count, height, width, -1).permute(0, 3, 1, 2)


def depthwise_conv3d(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    """Convolve depthwise x (B, C, T, H, W) with weight (C, 1, kt, kh, kw), odd kernel, padding k // 2.

    Returns (B, C, ceil(T / st), ceil(H / sh), ceil(W / sw)). The weight may be a slice of a larger one: the result
    equals that of its contiguous copy bit for bit. Differentiable once on CPUs. A bias (C,) is that of a
    folded norm; with one, gradients are torch's own.
    """
    weight = weight.contiguous()
    # One channel is not depthwise: oneDNN's issue 6035 strikes there.
    if bias is None and x.shape[1] > 1 and trains_on_cpu(x, weight):
        return train_depthwise(x, weight, stride, current_kernels())
    return _convolve(x, weight, stride, bias)


def train_depthwise(x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
    """Convolve with gradients of these kernels, under autocast too."""
    out: Tensor
    if not torch.is_autocast_enabled("cpu") or x.dtype == torch.float64:
        out = _DepthwiseConv3d.apply(x, weight, stride, kernels)  # type: ignore[no-untyped-call]
        return out
    dtype = torch.get_autocast_dtype("cpu")
    compute = torch.float32 if kernels.autocast == "fp32" else dtype
    with torch.autocast("cpu", enabled=False):
        out = _DepthwiseConv3d.apply(x.to(compute), weight.to(compute), stride, kernels)  # type: ignore[no-untyped-call]
    return out.to(dtype)


def _convolve(x: Tensor, weight: Tensor, stride: Size3, bias: Tensor | None = None) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    if x.device.type == "cpu" and not is_recorded():
        return convolve(x, weight, stride, padding, bias)
    return F.conv3d(x, weight, bias, stride, padding, groups=x.shape[1])


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.kernels = stride, kernels
        return _convolve(x, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        need_x, need_weight, *_ = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            grad_x = input_gradient(grad, x, weight, ctx.stride, ctx.kernels) if need_x else None
            grad_weight = weight_gradient(grad, x, weight, ctx.stride, ctx.kernels) if need_weight else None
        return grad_x, grad_weight, None, None


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
    """Return the gradient of the input, of its shape; all in channels_last_3d."""
    if kernels.input_gradient == "torch":
        return torch_gradient(grad, x, weight, stride, of_weight=False)
    one_pixel = weight.shape[3:] == (1, 1)  # like the forward pass, flipped it would lack a kernel on one thread
    if (one_pixel or stride != (1, 1, 1)) and is_planar(weight.shape[2:], stride):
        return planar_gradient(grad, x, weight, stride, of_weight=False)
    return flipped_input_gradient(grad, x, weight, stride)


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
    """Return the gradient of the weight, of its shape; maps in channels_last_3d."""
    kernel = weight.shape[2:]
    if kernels.weight_gradient == "frames" and is_small(grad, x, kernel, stride):
        return pairs_weight_gradient(grad, x, weight, stride)
    columns = 3 if kernels.wide_kernels == "split" else kernel[2]
    if kernels.weight_gradient == "frames" and is_planar(kernel, stride) and kernel[2] <= columns:
        return planar_gradient(grad, x, weight, stride, of_weight=True)
    if kernels.weight_gradient == "frames" and stride[0] == 1:
        return frames_weight_gradient(grad, x, weight, stride, columns)
    return torch_gradient(grad, x, weight, stride, of_weight=True)
