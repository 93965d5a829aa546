"""Convolutions of video networks, and residual blocks of them. Clips (B, C, T, H, W).

Convolutions over single frames: in channels_last_3d the frames of a batch already lie in memory as one channels_last
batch of images, so that folding them is a view, and 2-D kernels, the faster ones on most machines, do the work. Those
over time alone are 2-D convolutions over T x (H W), a view too: 1.5 to 2.8 times as fast as the 3-D kernel on a CPU,
which moreover loses the layout.

Residual blocks have named places, so that temporal modules and regularisers combine with every residual network:

    enter -> conv1 -> norm1 -> relu -> conv2 -> norm2 -> relu -> conv3 -> norm3 -> leave -> + shortcut -> relu -> after

`enter` is the place of a shift or an aggregation over time, `leave` that of a regulariser of the branch, `after` that
of attention over the output of the block; all are the identity by default. The convolutions come from the caller.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.depthwise import Size3, depthwise_conv3d
from autovid.kernels.maps import few_frames, pointwise_conv3d
from autovid.kernels.tracing import is_recorded, is_translated


class FrameConv(nn.Conv2d):
    """A 2-D convolution of every frame: (B, C, T, H, W) -> (B, D, T, H', W'); weight (D, C / groups, k, k).

    With a `frame_stride` of n it is of every n-th frame, from the first on.
    """

    def __init__(self, *args: Any, frame_stride: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.frame_stride = frame_stride

    def forward(self, x: Tensor) -> Tensor:
        if is_translated():
            steps, gaps, padding = (_both(size) for size in (self.stride, self.dilation, self.padding))
            return F.conv3d(
                x, self.weight.unsqueeze(2), self.bias, (self.frame_stride, *steps), (0, *padding), (1, *gaps),
                self.groups,
            )  # fmt: skip
        stride = (self.frame_stride, *_both(self.stride))
        if self.kernel_size == (1, 1) and self.groups == 1 and few_frames(x, stride):
            return pointwise_conv3d(x, self.weight.unsqueeze(2), stride, self.bias)
        if self.frame_stride > 1:
            x = x[:, :, :: self.frame_stride].contiguous(memory_format=torch.channels_last_3d)
        return unfold(super().forward(fold(x)), x.shape[0])


class FrameMaxPool(nn.MaxPool2d):
    """A 2-D max-pool of every frame."""

    def forward(self, x: Tensor) -> Tensor:
        if is_translated():
            kernel, steps, padding = (_both(size) for size in (self.kernel_size, self.stride, self.padding))
            return F.max_pool3d(x, (1, *kernel), (1, *steps), (0, *padding), ceil_mode=self.ceil_mode)
        return unfold(super().forward(fold(x)), x.shape[0])


class TemporalConv(nn.Conv3d):
    """k x 1 x 1 convolution, k odd, same padding: (B, C, T, H, W) -> (B, D, T / stride, H, W); 5-D weight."""

    def __init__(self, width_in: int, width: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> None:
        super().__init__(width_in, width, (kernel, 1, 1), (stride, 1, 1), (kernel // 2, 0, 0), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if is_translated():
            return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)
        stride, padding = (self.stride[0], 1), (self.kernel_size[0] // 2, 0)
        y = F.conv2d(x.flatten(3), self.weight.squeeze(4), self.bias, stride, padding)
        return y.view(*y.shape[:3], *x.shape[3:])


class FactorizedConv(nn.Module):
    """1 x 3 x 3 convolution, batch norm, ReLU, 3 x 1 x 1 convolution; `stride` is of space, `frame_stride` of time.

    Xie et al., "Rethinking spatiotemporal feature learning", 2018, arXiv 1712.04851 (S3D); Tran et al., "A closer look
    at spatiotemporal convolutions", 2018, arXiv 1711.11248 (R(2+1)D); of one width throughout, as in Chen et al., "Deep
    Analysis", 2021, arXiv 2010.11757, supplement, section 5. `bias` is of the second convolution, `eps` of the norm.
    """

    def __init__(
        self, width_in: int, width: int, stride: int = 1, frame_stride: int = 1, bias: bool = False, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.spatial = FrameConv(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(width, eps=eps)
        self.temporal = TemporalConv(width, width, 3, frame_stride, bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.temporal(F.relu(self.norm(self.spatial(x))))
        return out


class DepthwiseConv3d(nn.Module):
    """k x k x k convolution of each channel alone, same padding: (B, C, T, H, W) -> (B, C, T', H', W').

    It has a bias (C,) where a norm is folded into it, and none else.
    """

    bias: Tensor | None

    def __init__(self, width: int, kernel: int, stride: Size3 = (1, 1, 1)) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(he_normal(torch.empty(width, 1, kernel, kernel, kernel)))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise_conv3d(x, channels_last(self.weight), self.stride, self.bias)


class PointwiseConv3d(nn.Module):
    """1x1x1 convolution: (B, C, T, H, W) -> (B, D, T', H', W').

    It has a bias (D,) where a norm is folded into it, and none else.
    """

    bias: Tensor | None

    def __init__(self, width_in: int, width: int, stride: Size3 = (1, 1, 1)) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in, 1, 1, 1)))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise_conv3d(x, channels_last(self.weight), self.stride, self.bias)


def frame_conv3d(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve every frame of x (B, C, T, H, W) with weight (D, C, 1, k, k), same padding, no bias.

    On CPUs as a 2-D convolution: of 3 colours and one thread torch's 3-D one takes five times as long, and its result
    has another layout.
    """
    padding = weight.shape[3] // 2
    if x.device.type != "cpu" or is_recorded():
        return F.conv3d(x, weight, None, (1, stride, stride), (0, padding, padding))
    return unfold(F.conv2d(fold(x), weight[:, :, 0], None, stride, padding), x.shape[0])


def channels_last(weight: Tensor) -> Tensor:
    """Return the weight of a 3-D convolution with the strides of channels_last_3d, even where sizes of 1 hide them.

    torch gives the result the layout that the strides of the weight suggest, so one weight without them loses the
    layout of everything after it; and equal strides mean the same kernel, hence equal bits, for a slice and a whole.
    """
    o, i, t, h, w = weight.shape
    if weight.stride() == (t * h * w * i, 1, h * w * i, w * i, i):
        return weight
    return weight.permute(0, 2, 3, 4, 1).reshape(-1).view(o, t, h, w, i).permute(0, 4, 1, 2, 3)


def he_normal(weight: Tensor) -> Tensor:
    """Draw He's initialisation by fan-out, in place (He et al., 2015, arXiv 1502.01852)."""
    if weight.device.type == "meta":
        return weight
    fan_out = weight.shape[0] * weight[0, 0].numel() if weight.shape[1] > 1 else weight[0, 0].numel()
    return nn.init.normal_(weight, 0.0, (2.0 / fan_out) ** 0.5)


def _both(size: Any) -> tuple[int, int]:
    """Return a size of rows and of columns."""
    return (size, size) if isinstance(size, int) else tuple(size)


def fold(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B * T, C, H, W); a view in channels_last_3d."""
    return x.transpose(1, 2).flatten(0, 1)


def unfold(x: Tensor, batch: int) -> Tensor:
    """(B * T, C, H, W) -> (B, C, T, H, W), the inverse of `fold`."""
    return x.view(batch, -1, *x.shape[1:]).transpose(1, 2)


class Residual(nn.Module):
    """Base of residual blocks. `stage` is 2 to 5 in the papers' naming (res2 ... res5), `index` counts in it.

    A subclass defines its `branch` between `enter` and `leave`; `shortcut` is None where the input can
    be added as it is.
    """

    enter: nn.Module
    leave: nn.Module
    after: nn.Module
    stage: int
    index: int
    width: int  # channels of the output

    def __init__(self, width: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.enter, self.leave, self.after = nn.Identity(), nn.Identity(), nn.Identity()
        self.stage = self.index = 0
        self.width = width
        self.shortcut = shortcut

    def branch(self, x: Tensor) -> Tensor:
        """Compute the branch without `enter` and `leave`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = self.leave(self.branch(self.enter(x)))
        out: Tensor = self.after(F.relu(y + (x if self.shortcut is None else self.shortcut(x))))
        return out


class BasicBlock(Residual):
    """A block of two convolutions."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, inner: int, width: int, shortcut: nn.Module | None) -> None:
        super().__init__(width, shortcut)
        self.conv1, self.norm1 = conv1, nn.BatchNorm3d(inner)
        self.conv2, self.norm2 = conv2, nn.BatchNorm3d(width)

    def branch(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.norm2(self.conv2(y))
        return out


class Bottleneck(Residual):
    """A block of three convolutions, the middle one `inner` wide."""

    def __init__(
        self, conv1: nn.Module, conv2: nn.Module, conv3: nn.Module, inner: int, width: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__(width, shortcut)
        self.conv1, self.norm1 = conv1, nn.BatchNorm3d(inner)
        self.conv2, self.norm2 = conv2, nn.BatchNorm3d(inner)
        self.conv3, self.norm3 = conv3, nn.BatchNorm3d(width)

    def branch(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        out: Tensor = self.norm3(self.conv3(y))
        return out
