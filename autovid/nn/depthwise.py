"""Depthwise 3-D convolution whose backward pass is as fast as its forward pass on CPUs.

The input gradient of a stride-1 depthwise convolution is a forward depthwise convolution with the kernel flipped.
torch's own backward does not use this and takes several times as long. Forward, and everything off the CPU, traced,
compiled or without gradient, is torch's own `conv3d`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Stride = tuple[int, int, int]


def depthwise_conv3d(x: Tensor, weight: Tensor, stride: Stride = (1, 1, 1)) -> Tensor:
    """Depthwise convolution of x (B, C, T, H, W) with weight (C, 1, kt, kh, kw), odd kernel, padding k // 2, no bias.

    Returns (B, C, ⌈T/st⌉, ⌈H/sh⌉, ⌈W/sw⌉). The weight may be a slice of a larger one: the result equals that of its
    contiguous copy bit for bit.
    """
    weight = weight.contiguous()
    if not _wants_gradient_kernels(x, weight):
        return _convolve(x, weight, stride)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
    out: Tensor = _DepthwiseConv3d.apply(x, weight, stride)
    return out


def _wants_gradient_kernels(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and (x.requires_grad or weight.requires_grad)
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def _padding(weight: Tensor) -> list[int]:
    return [size // 2 for size in weight.shape[2:]]


def _convolve(x: Tensor, weight: Tensor, stride: Stride) -> Tensor:
    return F.conv3d(x, weight, stride=stride, padding=_padding(weight), groups=x.shape[1])


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=None)
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Stride) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _convolve(x, weight, stride)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        need_x, need_weight, _ = ctx.needs_input_grad
        flip = need_x and ctx.stride == (1, 1, 1)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, ctx.stride, _padding(weight), [1, 1, 1], False, [0, 0, 0], x.shape[1],
            [need_x and not flip, need_weight, False],
        )  # fmt: skip
        if flip:
            grad_x = _convolve(grad, weight.flip(2, 3, 4), (1, 1, 1))
        return grad_x, grad_weight, None
