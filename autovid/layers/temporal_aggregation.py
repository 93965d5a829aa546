"""Temporal aggregation: every channel, or every pair of channels, weighs three frames; then a ReLU.

Fan et al., "More is less: Learning efficient video representations by temporal aggregation modules", 2019, arXiv
1912.00869, "TAM"; and the dense "Conv." of Chen et al., "Deep Analysis of CNN-based Spatio-temporal Representations for
Action Recognition", 2021, arXiv 2010.11757, supplement, Table 3. Clips (B, C, T, H, W) in and out, zeros beyond the
ends.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.tracing import is_traced
from autovid.layers.convolutions import TemporalConv


class TemporalAggregation(nn.Module):
    """The map relu(w0 x[t - 1] + w1 x[t] + w2 x[t + 1]), a depthwise convolution with weights (C, 1, 3, 1, 1).

    They begin as in the authors' code, normal with variance 2 / C, not as an identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1, 3, 1, 1).normal_(0.0, (2.0 / width) ** 0.5))

    def forward(self, x: Tensor) -> Tensor:
        weigh = weigh_frames if x.is_cuda and not is_traced() else depthwise_conv3d
        return F.relu(weigh(x, self.weight))


class DenseAggregation(nn.Module):
    """The ReLU of a dense 3 x 1 x 1 convolution: matrices (C, C) in place of the weights per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = TemporalConv(width, width)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


def weigh_frames(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve x (B, C, T, H, W) depthwise with weight (C, 1, 3, 1, 1), as three products in place.

    Equal to `depthwise_conv3d`, whose CPU kernels are as fast and count as a convolution; for GPUs, which have no good
    kernel for depthwise convolutions in three dimensions and for which these are sweeps over memory.
    """
    out: Tensor = _WeighFrames.apply(x, weight.to(x.dtype).flatten())  # type: ignore[no-untyped-call]
    return out


def _weigh(x: Tensor, weight_C3: Tensor) -> Tensor:
    before, now, after = weight_C3.view(-1, 3, 1, 1, 1).unbind(1)
    out = x * now
    out[:, :, 1:].addcmul_(x[:, :, :-1], before)
    out[:, :, :-1].addcmul_(x[:, :, 1:], after)
    return out


class _WeighFrames(torch.autograd.Function):
    """The products with their own gradient: autograd would keep and clone the maps that they overwrite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _weigh(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        grad_x = _weigh(grad, weight.view(-1, 3).flip(1)) if need_x else None
        return grad_x, _weight_gradient(grad, x).to(weight.dtype) if need_weight else None


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    pairs = ((grad[:, :, 1:], x[:, :, :-1]), (grad, x), (grad[:, :, :-1], x[:, :, 1:]))
    dtype = torch.promote_types(grad.dtype, torch.float32)
    return torch.stack([(g * y).sum((0, 2, 3, 4), dtype=dtype) for g, y in pairs], 1).flatten()
