"""Batch normalisation that is fast on CPUs for large maps of few channels in channels_last_3d.

torch's own kernels work channel by channel of one pixel. They are slow where a pixel has fewer channels than a few
vectors of the processor, above all where some channels are left over: 12 channels take 2 to 3 times as long as 16. So
here several pixels lie side by side as one wide pixel, a view, with statistics of their own. Those are then combined
without cancellation. All else is torch's own: small maps, wide maps, other layouts, types and devices, tests and
tracers.

Legend: B batch, C channels, T frames, H rows, W columns; P pixels of all clips; k pixels side by side.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from autovid.kernels.tracing import is_recorded, trains_on_cpu

NARROW = 32  # channels from which on torch's own kernels are as fast
WIDE = 256  # channels of a wide pixel, at least; as far as P can be divided
LARGE = 2**17  # numbers in a map from which on a wide pixel pays for its operations


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalise x (B, C, ...) like `F.batch_norm`, to rounding. Differentiable once where the map is large and narrow.

    Raises ValueError, as torch does, for one value of each channel in training.
    """
    if not training or weight is None or bias is None or _side_by_side(x) == 1:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if trains_on_cpu(x, weight, bias):
        arguments = (x, weight, bias, running_mean, running_var, momentum, eps)
        out: Tensor = _BatchNorm.apply(*arguments)  # type: ignore[no-untyped-call]
        return out
    return _normalise(x, weight, bias, running_mean, running_var, momentum, eps)[0]


def _side_by_side(x: Tensor) -> int:
    """Return k, a power of two that divides P; 1 where torch's own kernel is to be used."""
    if (
        is_recorded()
        or x.dim() != 5
        or x.shape[1] >= NARROW
        or x.numel() < LARGE
        or x.dtype not in (torch.float32, torch.float64)
        or x.device.type != "cpu"
        or type(x) is not Tensor
        or not x.is_contiguous(memory_format=torch.channels_last_3d)
    ):
        return 1
    pixels, k = x.numel() // x.shape[1], 1
    while k * x.shape[1] < WIDE and pixels % (2 * k) == 0:
        k *= 2
    return k


def _wide(x: Tensor, k: int) -> Tensor:
    """Return x (B, C, T, H, W) as a view of its wide pixels (P / k, k C)."""
    return x.permute(0, 2, 3, 4, 1).view(-1, k * x.shape[1])


def _normalise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised map, and the mean and the inverse deviation (C,) of x; update the running statistics."""
    k = _side_by_side(x)
    mean, var = _moments(x, k)
    if running_mean is not None and running_var is not None:
        n = x.numel() // x.shape[1]
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (n / (n - 1)), momentum)
    inverse = torch.rsqrt(var + eps)
    scale = weight * inverse
    shift = torch.addcmul(bias, mean, scale, value=-1)
    out = torch.empty_like(x)
    torch.addcmul(shift.repeat(k), _wide(x, k), scale.repeat(k), out=_wide(out, k))
    return out, mean, inverse


def _moments(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,): the mean variance of the k pixels' channels and the variance of their means."""
    pixels = _wide(x, k)
    image = pixels.view(1, pixels.shape[0], 1, -1).permute(0, 3, 1, 2)
    means, variances = torch.batch_norm_update_stats(image, None, None, 0.0)
    means, variances = means.view(k, -1), variances.view(k, -1)
    mean = means.mean(0)
    return mean, variances.add_((means - mean).square_()).mean(0)


class _BatchNorm(torch.autograd.Function):
    """dx = w s (dy - mean(dy) - z mean(dy z)), with s the inverse deviation and z = (x - mean) s."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        out, mean, inverse = _normalise(x, weight, bias, running_mean, running_var, momentum, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps = eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        if x.shape[1] > 8 and x.shape[1] % 8 == 0:  # whole vectors: torch's own is as fast
            grads = torch.ops.aten.native_batch_norm_backward(
                grad, x, weight, None, None, mean, inverse, True, ctx.eps, [True, True, True]
            )
        else:
            grads = _gradients(grad, x, weight, mean, inverse)
        return *grads, None, None, None, None


def _gradients(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias."""
    k, c = _side_by_side(x), x.shape[1]
    n = x.numel() // c
    grads = _wide(grad, k)
    centred = _wide(x, k) - mean.repeat(k)
    grad_bias = grads.sum(0).view(k, c).sum(0)
    grad_weight = (centred * grads).sum(0).view(k, c).sum(0) * inverse
    scale = weight * inverse
    slope = scale * inverse * grad_weight / -n
    offset = scale * grad_bias / -n
    out = torch.addcmul(offset.repeat(k), centred, slope.repeat(k), out=centred).addcmul_(grads, scale.repeat(k))
    b, _, t, h, w = x.shape
    return out.view(b, t, h, w, c).permute(0, 4, 1, 2, 3), grad_weight, grad_bias
