"""Synchronised batch normalisation and dropout: over the whole batch of a step, of which every worker has a shard.

Any number of workers then compute the same as one alone (to rounding). Like torch's
SyncBatchNorm, which is for CUDA alone, with two messages a layer: the moments forward and two sums backward.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autovid import distributed
from autovid.errors import ConfigError
from autovid.kernels import batch_norm as kernels


class SyncBatchNorm(_BatchNorm):
    """A torch batch norm, its parameters and names kept, over the clips of all workers."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None, "cumulative averages are not kept over workers"
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        arguments = (self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps)
        return batch_norm(input, *arguments)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions."""


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    sync: bool = True,
) -> Tensor:
    """Normalise x (B, C, ...) like `F.batch_norm`, in training with `sync` with the statistics of all workers' clips.

    B is the same on all workers.
    """
    if not (training and sync) or distributed.size() == 1:
        return kernels.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    weight = x.new_ones(x.shape[1], dtype=torch.float32) if weight is None else weight
    bias = torch.zeros_like(weight) if bias is None else bias
    mean, var = _moments(x)
    if running_mean is not None and running_var is not None:
        n = distributed.size() * x.numel() // x.shape[1]
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * (n / max(1, n - 1))).to(running_var.dtype), momentum)
    out: Tensor = _SyncBatchNormFunction.apply(x, weight, bias, mean, var, eps)  # type: ignore[no-untyped-call]
    return out


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) over all workers' clips: those of the shards, combined without cancellation."""
    with torch.no_grad():
        dtype = torch.promote_types(x.dtype, torch.float32)
        unused = torch.zeros(x.shape[1], device=x.device, dtype=dtype)
        mean, var = torch.batch_norm_update_stats(x.detach(), unused, unused.clone(), 0.0)
        means, variances = distributed.gather(torch.stack([mean, var])).unbind(1)
        mean = means.mean(0)
        return mean, (variances + (means - mean).square()).mean(0)


class _SyncBatchNormFunction(torch.autograd.Function):
    """Standardisation with given moments of the whole batch, and the gradient through them.

    dx = w s (dy - mean(dy) - z mean(dy z)), with z the standardised x, s = 1 / sqrt(var + eps), means over all workers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        # As in test, with constant moments: dx = w s dy; and the sums of dy z and of dy, which are missing.
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([dw, db]).to(mean.dtype)
        distributed.add_([sums])
        sums /= distributed.size() * x.numel() // x.shape[1]
        scale = torch.rsqrt(var + ctx.eps)
        slope = weight * scale**2 * sums[0]
        offset = weight * scale * sums[1] - slope * mean
        shape = (1, -1, *[1] * (x.dim() - 2))
        correction = torch.addcmul(offset.view(shape).to(x.dtype), x, slope.view(shape).to(x.dtype))
        return dx.sub_(correction), dw, db, None, None, None


@contextlib.contextmanager
def variance_needed() -> Iterator[None]:
    """Turn torch's refusal to normalise one value of each channel into a ConfigError that says what to do."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            "batch norm is left with one value of each channel, which has no variance: give a larger --batch, or more "
            "--frames or a larger --crop"
        ) from error


class SyncDropout(nn.Dropout):
    """Dropout whose mask is this worker's part of the whole batch's."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input

        def mask(batch: int) -> Tensor:
            return F.dropout(empty_like(input, batch).fill_(1), self.p, True)

        return input * distributed.shard(mask, input.shape[0])


def empty_like(x: Tensor, batch: int) -> Tensor:
    """Return an empty tensor for `batch` clips laid out as x: random numbers fill a tensor in its memory's order."""
    shape, clip = (batch, *x.shape[1:]), x[0].numel()
    if x.stride(0) != clip:
        return x.new_empty(shape)
    return torch.empty_strided(shape, (clip, *x.stride()[1:]), dtype=x.dtype, device=x.device)


def convert_sync_batch(net: nn.Module, norms: bool = True) -> None:
    """Convert the dropouts of `net`, and with `norms` torch's batch norms, to synchronised ones.

    The search blocks' batch norms, which have an attribute `sync`, do so by themselves, unless `norms` is off. So do
    the random regularisers. With one worker nothing is changed.
    """
    if distributed.size() == 1:
        return
    for module in net.modules():
        if type(module) is nn.Dropout:
            module.__class__ = SyncDropout
        elif hasattr(module, "sync"):
            module.sync = norms  # type: ignore[assignment]
        elif norms and type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SyncBatchNorm
