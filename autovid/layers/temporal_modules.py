"""Modules that relate the frames of a clip, one for each published idea. Clips (B, C, T, H, W).

TemporalShift: Lin et al., "TSM: Temporal shift module for efficient video understanding", 2019, arXiv 1811.08383. Some
channels come from the next frame, some from the one before. Free of MACs and parameters.

TemporalAggregation: Fan et al., "More is less: Learning efficient video representations by temporal aggregation
modules", 2019, arXiv 1912.00869, "TAM". Every channel weighs three frames, zeros beyond the ends; then a ReLU.
DenseAggregation, every pair of channels: "Conv." of Chen et al., "Deep Analysis of CNN-based Spatio-temporal
Representations for Action Recognition", 2021, arXiv 2010.11757, supplement, Table 3.

TemporalAdaptive: Liu et al., "TAM: Temporal adaptive module for video recognition", 2021, arXiv 2005.06803; sizes as in
the TANet of MMAction2. Every clip makes its own temporal convolution, one kernel a channel, over gated frames; theta,
the input of both branches, is the spatial mean (B, C, T).

LongTermDifference, `differences`, LearnableShift: Wang et al., "TDN: Temporal difference networks for efficient action
recognition", 2021, arXiv 2012.10071, with the sizes of the code of its authors. One step of T is one segment.

NonLocalBlock: Wang et al., "Non-local neural networks", 2018, arXiv 1711.07971, embedded Gaussian, as it was published:
every position of the clip attends to every other. Unlike the block of the `two_stream` space (`attention.NonLocal`),
its cost grows with the square of the area, nothing bounds its keys, and the scores are not scaled.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.tracing import is_traced
from autovid.layers.convolutions import FrameConv, FrameMaxPool, TemporalConv, channels_last, fold, unfold


class TemporalShift(nn.Module):
    """A shift of C // `fold_div` of C channels from frame t + 1, as many from t - 1; zeros at the ends.

    `fold_div` is called so in the authors' code.
    """

    def __init__(self, fold_div: int = 8) -> None:
        super().__init__()
        self.fold_div = fold_div

    def forward(self, x: Tensor) -> Tensor:
        fold = x.shape[1] // self.fold_div
        recorded = torch.compiler.is_exporting() or is_traced()
        return _shift_by_padding(x, fold) if recorded else shift(x, fold)


def shift(x: Tensor, fold: int, step: int = 1) -> Tensor:
    """Return x (B, C, T, H, W) with channels [0, fold) from frame t + step and [fold, 2 fold) from frame t - step.

    `step` is 1, or -1 for the other way round, which is also the gradient. One allocation, forward and backward.
    """
    out: Tensor = _Shift.apply(x, fold, step)  # type: ignore[no-untyped-call]
    return out


def _shift_by_padding(x: Tensor, fold: int) -> Tensor:
    """Shift without writing into slices, for which ONNX has no good operation."""
    early, late, rest = torch.split(x, [fold, fold, x.shape[1] - 2 * fold], 1)
    return torch.cat([F.pad(early[:, :, 1:], (0, 0, 0, 0, 0, 1)), F.pad(late[:, :, :-1], (0, 0, 0, 0, 1, 0)), rest], 1)


class _Shift(torch.autograd.Function):
    """The shift with its own gradient: autograd would clone the gradient once for every slice that is written."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fold: int, step: int) -> Tensor:
        ctx.fold, ctx.step = fold, step
        early, late = (slice(0, fold), slice(fold, 2 * fold))[::step]  # from the next frame; from the one before
        out = x.clone()  # faster than to copy the channels that stay, one slice more
        out[:, early, :-1] = x[:, early, 1:]
        out[:, early, -1:] = 0
        out[:, late, 1:] = x[:, late, :-1]
        out[:, late, :1] = 0
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return shift(grad, ctx.fold, -ctx.step), None, None


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


KERNEL = 3


class TemporalAdaptive(nn.Module):
    """(B, C, T, H, W) -> the same shape, for clips of exactly `frames` frames.

    `kernel` (the global branch) makes KERNEL weights for each clip and channel that sum to one; `gates` (the local one)
    a gate in 0..1 for each clip, channel and frame.
    """

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        inner = width // 4
        self.kernel = nn.Sequential(
            nn.Linear(frames, 2 * frames, bias=False),
            nn.BatchNorm1d(2 * frames),
            nn.ReLU(inplace=True),
            nn.Linear(2 * frames, KERNEL, bias=False),
        )
        self.gates = nn.Sequential(
            nn.Conv1d(width, inner, KERNEL, padding=KERNEL // 2, bias=False),
            nn.BatchNorm1d(inner),
            nn.ReLU(inplace=True),
            nn.Conv1d(inner, width, 1, bias=False),
        )
        for name in ("0.weight", "3.weight"):
            nn.init.normal_(self.kernel.get_parameter(name), 0.0, 0.001)

    def forward(self, x: Tensor) -> Tensor:
        theta = x.mean((3, 4))
        return aggregate(x, self.weights(theta), torch.sigmoid(self.gates(theta)))

    def weights(self, theta: Tensor) -> Tensor:
        """Map theta (B, C, T) to the temporal kernels (B, C, KERNEL)."""
        kernels = self.kernel(theta.flatten(0, 1))
        return torch.softmax(kernels, -1).view(*theta.shape[:2], KERNEL)


def aggregate(x: Tensor, kernels: Tensor, gates: Tensor) -> Tensor:
    """Convolve x (B, C, T, H, W), times its gates (B, C, T), over time with kernels (B, C, KERNEL); zeros around.

    As sums of shifted frames, which keeps the layout of the clip. Where a tool counts or exports it is the grouped
    convolution that it stands for.
    """
    if x.is_meta or is_traced():
        return _convolve(x * gates[..., None, None], kernels)
    before, middle, after = (kernels.unsqueeze(-1) * gates.unsqueeze(2)).to(x.dtype)[..., None, None].unbind(2)
    y = x * middle
    y[:, :, 1:].addcmul_(x[:, :, :-1], before[:, :, :-1])
    y[:, :, :-1].addcmul_(x[:, :, 1:], after[:, :, 1:])
    return y


def _convolve(x: Tensor, kernels: Tensor) -> Tensor:
    b, c = x.shape[:2]
    weight = kernels.reshape(b * c, 1, KERNEL, 1, 1)
    return F.conv3d(x.reshape(1, b * c, *x.shape[2:]), weight, padding=(1, 0, 0), groups=b * c).view(x.shape)


SNIPPET = 5  # frames of a segment


def middle_frames(x: Tensor) -> Tensor:
    """Return the middle frame of every segment: (B, 3, SNIPPET * T, H, W) -> (B, 3, T, H, W)."""
    return x[:, :, SNIPPET // 2 :: SNIPPET]


def differences(x: Tensor) -> Tensor:
    """Return the differences of consecutive frames in every segment, at half the size.

    (B, 3, SNIPPET * T, H, W) -> (B, 3 * (SNIPPET - 1), T, H / 2, W / 2), the channels of the first difference first.
    """
    small = F.avg_pool2d(fold(x), 2)
    small_BTFCHW = small.view(x.shape[0], -1, SNIPPET, *small.shape[1:])
    changes_BTFCHW = small_BTFCHW[:, :, 1:] - small_BTFCHW[:, :, :-1]
    return changes_BTFCHW.permute(0, 1, 4, 5, 2, 3).flatten(4).permute(0, 4, 1, 2, 3)


class LongTermDifference(nn.Module):
    """Gates of channels by the differences of neighbouring segments, at two scales, both ways. Shape unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 16
        self.squeeze = nn.Sequential(FrameConv(width, inner, 1, bias=False), nn.BatchNorm3d(inner))
        self.smooth = FrameConv(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.coarse = nn.Sequential(FrameConv(inner, inner, 3, padding=1, bias=False), nn.BatchNorm3d(inner))
        self.fine = nn.Sequential(FrameConv(inner, inner, 3, padding=1, bias=False), nn.BatchNorm3d(inner))
        self.excite = nn.Sequential(FrameConv(inner, width, 1, bias=False), nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        frames = self.squeeze(x)
        smooth = self.smooth(frames)
        forwards = F.pad(smooth[:, :, 1:] - frames[:, :, :-1], (0, 0, 0, 0, 0, 1))
        backwards = F.pad(smooth[:, :, :-1] - frames[:, :, 1:], (0, 0, 0, 0, 1, 0))
        gate = 0.5 * self._gate(forwards) + 0.5 * self._gate(backwards)
        return x + x * gate

    def _gate(self, change: Tensor) -> Tensor:
        """(B, C / 16, T, H, W) -> (B, C, T, H, W) in -0.5..0.5."""
        images = fold(change)
        half = F.avg_pool2d(images, min(2, *images.shape[2:]))
        coarse = fold(self.coarse(unfold(half, change.shape[0])))
        coarse = unfold(F.interpolate(coarse, images.shape[2:]), change.shape[0])
        out: Tensor = self.excite((change + coarse + self.fine(change)) / 3)
        return torch.sigmoid(out) - 0.5


class LearnableShift(nn.Module):
    """A depthwise temporal convolution that starts as TSM's shift of an eighth of the channels each way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        fold_width = width // 8
        weight = torch.zeros(width, 1, 3, 1, 1)
        weight[:fold_width, :, 2] = 1  # from the next segment
        weight[fold_width : 2 * fold_width, :, 0] = 1  # from the one before
        weight[2 * fold_width :, :, 1] = 1
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and not is_traced():
            return weigh_frames(x, self.weight)
        return depthwise_conv3d(x, channels_last(self.weight))


class NonLocalBlock(nn.Module):
    """x + norm(extend(softmax(query key) value)), C / 2 wide inside; the norm starts at zero.

    `subsample` max-pools keys and values 2 x 2 in space.
    """

    def __init__(self, width: int, subsample: bool) -> None:
        super().__init__()
        inner = width // 2
        self.query = FrameConv(width, inner, 1)
        self.key = FrameConv(width, inner, 1)
        self.value = FrameConv(width, inner, 1)
        self.extend = FrameConv(inner, width, 1)
        self.norm = nn.BatchNorm3d(width)
        self.pool = FrameMaxPool(2) if subsample else nn.Identity()
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        query_BLC = self.query(x).flatten(2).transpose(1, 2)
        key_BCK = self.pool(self.key(x)).flatten(2)
        value_BKC = self.pool(self.value(x)).flatten(2).transpose(1, 2)
        weights_BLK = torch.softmax(query_BLC @ key_BCK, dim=-1)
        y = (weights_BLK @ value_BKC).transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = x + self.norm(self.extend(y))
        return out
