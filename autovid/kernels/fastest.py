"""The choice of the fastest kernels of this machine's CPU, by measurement."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import torch
from torch import Tensor

from autovid.kernels.chosen import Kernels
from autovid.kernels.depthwise import input_gradient, train_depthwise, weight_gradient
from autovid.kernels.machine import cpu_has_bf16, is_faster
from autovid.kernels.maps import convolve_images, multiply_pixels


def choose_kernels() -> Kernels:
    """Measure which kernels are fastest on this machine, in about a third of a second. Does not put them to use."""
    x, narrow, wide = _example()
    grad, stride = x.flip(0), (1, 1, 1)
    trials: list[tuple[dict[str, str], Callable[[Kernels], object]]] = [
        ({"input_gradient": "torch"}, lambda kernels: input_gradient(grad, x, narrow, stride, kernels)),
        ({"weight_gradient": "torch"}, lambda kernels: weight_gradient(grad, x, narrow, stride, kernels)),
        ({"wide_kernels": "whole"}, lambda kernels: weight_gradient(grad, x, wide, stride, kernels)),
    ]
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        trials.append(({"pointwise": "images"}, partial(_pointwise_step, *_late())))
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


def _late() -> tuple[Tensor, Tensor]:
    """Return a map of the late stages of X3D, and a weight that widens it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 14, 14, 96, generator=generator).permute(0, 4, 1, 2, 3)
    return x.requires_grad_(), torch.randn(216, 96, 1, 1, 1, generator=generator).requires_grad_()


def _autocast_step(grad: Tensor, x: Tensor, weight: Tensor, kernels: Kernels) -> None:
    x, weight = x.bfloat16().requires_grad_(), weight.clone().requires_grad_()
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        out = train_depthwise(x, weight, (1, 1, 1), kernels)
    torch.autograd.grad(out, (x, weight), grad.bfloat16())


def _pointwise_step(x: Tensor, weight: Tensor, kernels: Kernels) -> None:
    with torch.enable_grad():
        out = (convolve_images if kernels.pointwise == "images" else multiply_pixels)(x, weight)
    torch.autograd.grad(out, (x, weight), torch.ones_like(out))
