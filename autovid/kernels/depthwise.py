"""Depthwise 3-D convolution that trains fast on CPUs, and the choice of its kernels by measurement.

The forward pass is torch's own `conv3d`, and so is everything off the CPU, traced, compiled or without gradient. In
training on a CPU the gradients come from `depthwise_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from autovid.kernels.depthwise_gradients import (
    Size3,
    convolve,
    flipped_input_gradient,
    frames_weight_gradient,
    is_planar,
    is_small,
    pairs_weight_gradient,
    planar_gradient,
    torch_gradient,
)
from autovid.kernels.machine import cpu_has_bf16, is_faster
from autovid.kernels.tracing import is_recorded, trains_on_cpu


class Kernels(msgspec.Struct, frozen=True):
    """The kernels that training on a CPU uses. They round differently, so a run that resumes bit for bit keeps its own.

    The defaults were fastest on every machine measured so far.
    """

    input_gradient: Literal["flip", "torch"] = "flip"
    weight_gradient: Literal["frames", "torch"] = "frames"
    wide_kernels: Literal["split", "whole"] = "split"  # weight gradient of kernels wider than 3: by columns, or at once
    autocast: Literal["fp32", "bf16"] = "fp32"  # the layer's precision in training under bf16 autocast


_kernels = Kernels()


def current_kernels() -> Kernels:
    """Return the kernels in use in this process."""
    return _kernels


def use_kernels(kernels: Kernels) -> None:
    """Use these kernels from now on in this process: those of `choose_kernels`, or of a run's record."""
    global _kernels
    _kernels = kernels


def depthwise_conv3d(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    """Convolve depthwise x (B, C, T, H, W) with weight (C, 1, kt, kh, kw), odd kernel, padding k // 2.

    Returns (B, C, ceil(T / st), ceil(H / sh), ceil(W / sw)). The weight may be a slice of a larger one: the result
    equals that of its contiguous copy bit for bit. Differentiable once on CPUs. A bias (C,) is that of a
    folded norm; with one, gradients are torch's own.
    """
    weight = weight.contiguous()
    # One channel is not depthwise: oneDNN's issue 6035 strikes there.
    if bias is None and x.shape[1] > 1 and trains_on_cpu(x, weight):
        return _train(x, weight, stride, _kernels)
    return _convolve(x, weight, stride, bias)


def _train(x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
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
            grad_x = _input_gradient(grad, x, weight, ctx.stride, ctx.kernels) if need_x else None
            grad_weight = _weight_gradient(grad, x, weight, ctx.stride, ctx.kernels) if need_weight else None
        return grad_x, grad_weight, None, None


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
    if kernels.input_gradient == "torch":
        return torch_gradient(grad, x, weight, stride, of_weight=False)
    one_pixel = weight.shape[3:] == (1, 1)  # like the forward pass, flipped it would lack a kernel on one thread
    if (one_pixel or stride != (1, 1, 1)) and is_planar(weight.shape[2:], stride):
        return planar_gradient(grad, x, weight, stride, of_weight=False)
    return flipped_input_gradient(grad, x, weight, stride)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: Size3, kernels: Kernels) -> Tensor:
    kernel = weight.shape[2:]
    if kernels.weight_gradient == "frames" and is_small(grad, x, kernel, stride):
        return pairs_weight_gradient(grad, x, weight, stride)
    columns = 3 if kernels.wide_kernels == "split" else kernel[2]
    if kernels.weight_gradient == "frames" and is_planar(kernel, stride) and kernel[2] <= columns:
        return planar_gradient(grad, x, weight, stride, of_weight=True)
    if kernels.weight_gradient == "frames" and stride[0] == 1:
        return frames_weight_gradient(grad, x, weight, stride, columns)
    return torch_gradient(grad, x, weight, stride, of_weight=True)


def choose_kernels() -> Kernels:
    """Measure which kernels are fastest on this machine, in about a third of a second. Does not put them to use."""
    x, narrow, wide = _example()
    grad, stride = x.flip(0), (1, 1, 1)
    trials: list[tuple[dict[str, str], Callable[[Kernels], object]]] = [
        ({"input_gradient": "torch"}, lambda kernels: _input_gradient(grad, x, narrow, stride, kernels)),
        ({"weight_gradient": "torch"}, lambda kernels: _weight_gradient(grad, x, narrow, stride, kernels)),
        ({"wide_kernels": "whole"}, lambda kernels: _weight_gradient(grad, x, wide, stride, kernels)),
    ]
    if cpu_has_bf16():
        trials.append(({"autocast": "bf16"}, lambda kernels: _autocast_step(grad, x, narrow, kernels)))
    best = Kernels()
    for change, run in trials:
        other = msgspec.structs.replace(best, **change)
        if is_faster(partial(run, other), partial(run, best)):
            best = other
    return best


def _example() -> tuple[Tensor, Tensor, Tensor]:
    """Return a map of the middle stages, kernels 3 x 3 x 3 and 3 x 5 x 5; leave the global generator alone."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 64, 4, 14, 14, generator=generator).contiguous(memory_format=torch.channels_last_3d)
    narrow, wide = (torch.randn(64, 1, 3, k, k, generator=generator) for k in (3, 5))
    return x, narrow, wide


def _autocast_step(grad: Tensor, x: Tensor, weight: Tensor, kernels: Kernels) -> None:
    x, weight = x.bfloat16().requires_grad_(), weight.clone().requires_grad_()
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        out = _train(x, weight, (1, 1, 1), kernels)
    torch.autograd.grad(out, (x, weight), grad.bfloat16())
