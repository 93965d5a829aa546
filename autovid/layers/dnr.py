"""DNR, dynamic normalization and relay: batch norm whose scale and shift an LSTM makes, relayed in time or in depth.

Cai et al., "Dynamic Normalization and Relay for Video Action Recognition", NeurIPS 2021. A group of frames is
averaged to one vector per clip, an LSTM takes it, and the LSTM's new state is the affine of the norm: gamma = h',
beta = c'. Standardisation is with the statistics of the group (over the batch and the group's frames, in the authors'
code), or in test with running ones, which every group updates in turn.

Statistics of all groups are taken at once, and standardisation and affine become one multiply-add.
Shapes: B clips, C channels, T frames, H, W; G groups of frames; R runs of frames of equal length that groups are made
of, one a group unless the last group is shorter than the others; P positions of a run.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from autovid import distributed
from autovid.kernels.compute import full_precision
from autovid.kernels.tracing import is_traced

Direction = Literal["forward", "backward", "both"]
State = tuple[Tensor, Tensor]  # h and c, (B, C)


class RelayCell(nn.Module):
    """An LSTM cell with a sigmoid for its last tanh, and with bottlenecks of width C / reduction for matrices."""

    def __init__(self, width: int, reduction: int = 4) -> None:
        super().__init__()
        self.width = width
        self.read = _bottleneck(width, reduction)  # (..., C) -> (..., 4 C), the input's share of the gates
        self.recall = _bottleneck(width, reduction)  # the state's

    def begin(self, read: Tensor) -> State:
        """Return the state before the first step, zeros for the clips of `read` (B, 4 C)."""
        zeros = read.new_zeros(read.shape[0], self.width)
        return zeros, zeros

    def forward(self, read: Tensor, state: State) -> State:
        """Step to h' = sigmoid(o) sigmoid(c'), c' = sigmoid(f) c + sigmoid(i) tanh(g); gates in the order i f g o."""
        h, c = state
        gates = read + self.recall(h)
        i, f, _, o = torch.sigmoid(gates).chunk(4, 1)  # all at once: these are tiny, and each operation costs its call
        g = torch.tanh(gates[:, 2 * self.width : 3 * self.width])
        c = torch.addcmul(i * g, f, c)
        return o * torch.sigmoid(c), c


def _bottleneck(width: int, reduction: int) -> nn.Sequential:
    inner = max(1, width // reduction)
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(inplace=True), nn.Linear(inner, 4 * width))


class TemporalRelay(nn.Module):
    """Means of groups (B, G, C) -> gamma and beta (B, G, C), the state going from group to group.

    With "both" directions gamma and beta are the averages over the two orders; that one LSTM serves both is ours.
    """

    def __init__(self, width: int, reduction: int = 4, direction: Direction = "forward") -> None:
        super().__init__()
        self.cell, self.direction = RelayCell(width, reduction), direction

    def forward(self, means: Tensor) -> tuple[Tensor, Tensor]:
        read = self.cell.read(means)
        if self.direction == "forward":
            return self._run(read)
        if self.direction == "backward":
            gamma, beta = self._run(read.flip(1))
            return gamma.flip(1), beta.flip(1)
        gamma, beta = self._run(torch.cat([read, read.flip(1)]))  # both orders at once, as twice the clips
        return _average(gamma), _average(beta)

    def _run(self, read: Tensor) -> tuple[Tensor, Tensor]:
        state, states = self.cell.begin(read[:, 0]), []
        for group in read.unbind(1):
            state = self.cell(group, state)
            states.append(state)
        return torch.stack([h for h, _ in states], 1), torch.stack([c for _, c in states], 1)


def _average(orders: Tensor) -> Tensor:
    forward, backward = orders.chunk(2)
    return (forward + backward.flip(1)) / 2


class LayerRelay(nn.Module):
    """Means of clips (B, 1, C) -> gamma and beta (B, 1, C), the state going from block to block of a stage.

    The state lives from the stage's `first` block to its `last` within one pass, and is never part of a checkpoint.
    """

    def __init__(self, width: int, reduction: int = 4) -> None:
        super().__init__()
        self.cell = RelayCell(width, reduction)
        self.state: State | None = None

    def forward(self, means: Tensor, *, first: bool, last: bool) -> tuple[Tensor, Tensor]:
        read = self.cell.read(means[:, 0])
        before = self.cell.begin(read) if first or self.state is None else self.state
        h, c = self.cell(read, before)
        self.state = None if last else (h, c)
        return h[:, None], c[:, None]


class DynamicNorm(nn.Module):
    """Batch norm of (B, C, T, H, W) in groups of `group` frames (None: one group), the affine of each from `relay`.

    `relay` maps the groups' means (B, G, C) to gamma and beta (B, G, C). A last group may have fewer frames. Without
    gradients, in test, the input is overwritten.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        width: int,
        group: int | None,
        relay: Callable[[Tensor], tuple[Tensor, Tensor]],
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.group, self.relay, self.eps, self.momentum = group, relay, eps, momentum
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        b, c, t, h, w = x.shape
        frames = min(self.group or t, t)
        run = math.gcd(frames, t)
        size, runs = frames // run, t // run  # of a group, of a clip
        x_NPC = x.permute(0, 2, 3, 4, 1).reshape(b * runs, run * h * w, c)  # N = B * R
        with full_precision(x):
            if self.training:
                x_NPC, means, variances = moments(x_NPC)
                per_clip = (b, runs, c)
                mean, var = self._batch_statistics(means.view(per_clip), variances.view(per_clip), size, run * h * w)
            else:
                means = x_NPC.mean(1, dtype=_at_least_fp32(x))
                mean, var = self.running_mean, self.running_var
            gamma, beta = self.relay(_pool(means.view(b, runs, c), size))
            scale = gamma * torch.rsqrt(var + self.eps)
            shift = torch.addcmul(beta, mean, scale, value=-1)
            y = scale_shift(x_NPC, _spread(scale, size, runs).flatten(0, 1), _spread(shift, size, runs).flatten(0, 1))
        return y.view(b, t, h, w, c).permute(0, 4, 1, 2, 3)

    def _batch_statistics(self, means: Tensor, variances: Tensor, size: int, positions: int) -> tuple[Tensor, Tensor]:
        """Return mean and variance (G, C) of every group over the batch, from runs' (B, R, C) of P positions."""
        b, runs, _ = means.shape
        mean = distributed.average(_pool(means, size).mean(0))
        between = means - _spread(mean[None], size, runs)
        var = distributed.average(_pool(torch.addcmul(variances, between, between), size).mean(0))
        with torch.no_grad():
            for group in range(len(mean)):
                n = distributed.size() * b * min(size, runs - group * size) * positions
                self.running_mean.lerp_(mean[group], self.momentum)
                self.running_var.lerp_(var[group] * (n / max(1, n - 1)), self.momentum)
        return mean, var


def _pool(runs_BRC: Tensor, size: int) -> Tensor:
    """Return the means over groups of `size` runs: (B, G, C)."""
    return runs_BRC if size == 1 else torch.stack([group.mean(1) for group in torch.split(runs_BRC, size, 1)], 1)


def _spread(groups_BGC: Tensor, size: int, runs: int) -> Tensor:
    """Return the value of its group for every run: (B, R, C)."""
    return groups_BGC if size == 1 else groups_BGC.repeat_interleave(size, 1)[:, :runs]


def _at_least_fp32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x (N, P, C), and its means and variances (divided by P) over P: (N, C) each, in fp32 at least.

    Further operations on x have to use the x returned: then the gradients are summed in one sweep.
    """
    if is_traced():
        return x, x.mean(1), x.var(1, correction=0)
    out, mean, var = _Moments.apply(x)  # type: ignore[no-untyped-call]
    return out, mean, var


class _Moments(torch.autograd.Function):
    """Moments with their own gradient: autograd keeps the centred map, and sweeps five times over maps, not once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dtype = _at_least_fp32(x)
        if x.is_cpu:  # where var_mean takes 20 times as long
            mean = x.mean(1, dtype=dtype)
            var = (x - mean[:, None]).square_().mean(1)
        else:
            var, mean = torch.var_mean(x.to(dtype), 1, correction=0)
        ctx.save_for_backward(x, mean)
        return x.view_as(x), mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_x: Tensor, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        slope = grad_var * (2 / x.shape[1])
        offset = grad_mean / x.shape[1] - slope * mean
        return torch.addcmul(offset[:, None], x, slope[:, None]).add_(grad_x).to(x.dtype)


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x (N, P, C) * scale (N, C) + shift (N, C), in the precision of x; in place where no gradient is needed.

    x is the output of a convolution: another map of its size to write to would cost as much as reading it again.
    """
    if is_traced():
        return torch.addcmul(shift[:, None], x, scale[:, None]).to(x.dtype)
    if not torch.is_grad_enabled():
        return torch.addcmul(shift[:, None], x, scale[:, None], out=x)
    out: Tensor = _ScaleShift.apply(x, scale, shift)  # type: ignore[no-untyped-call]
    return out


class _ScaleShift(torch.autograd.Function):
    """One rounding to the precision of x; the gradients of scale and shift are summed in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return torch.addcmul(shift[:, None], x, scale[:, None], out=torch.empty_like(x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        product = grad.to(scale.dtype) * x
        grad_scale, grad_shift = product.sum(1), grad.sum(1, dtype=scale.dtype)
        buffer = product if product.dtype == x.dtype else torch.empty_like(x)  # product is in the CPU's cache
        return torch.mul(grad, scale[:, None], out=buffer), grad_scale, grad_shift
