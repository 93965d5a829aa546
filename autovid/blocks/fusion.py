"""Fusion of two streams: dense features (B, C_D, T_D, H, W) become an addend for sparse ones (B, C_S, T_S, H, W).

The four operations of seed-auto-tsnet, section 2. `ratio` is T_D / T_S. Batch norm after the pointwise convolution is
ours. "Skip" is the absence of a module.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.elastic import Norm, Pointwise, part
from autovid.blocks.site import Size
from autovid.layers.tensors import he_normal


class StridedConv(nn.Module):
    """Time-strided convolution: kernel x 1 x 1 with stride `ratio` in time, then 1x1x1 to C_S.

    The convolution over time keeps the C_D channels and mixes them, as the laterals of SlowFast do.
    """

    def __init__(self, width_source: int, width_target: int, ratio: int, kernel: int) -> None:
        super().__init__()
        self.ratio, self.kernel = ratio, kernel
        self.weight = nn.Parameter(he_normal(torch.empty(width_source, width_source, kernel, 1, 1)))
        self.project = Pointwise(width_source, width_target)
        self.norm = Norm(width_target)

    def forward(self, x: Tensor, width: int) -> Tensor:
        c = x.shape[1]
        y = F.conv3d(x, part(self.weight, c, c), stride=(self.ratio, 1, 1), padding=(self.kernel // 2, 0, 0))
        out: Tensor = self.norm(self.project(y, width))
        return out

    @staticmethod
    def macs(width_source: int, width_target: int, ratio: int, kernel: int, size: Size) -> int:
        """`size` is the sparse map's."""
        return (kernel * width_source**2 + width_source * width_target) * size.positions


class StridedSampling(nn.Module):
    """Time-strided sampling: every `ratio`-th frame, then 1x1x1 to C_S."""

    def __init__(self, width_source: int, width_target: int, ratio: int, kernel: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.project = Pointwise(width_source, width_target)
        self.norm = Norm(width_target)

    def forward(self, x: Tensor, width: int) -> Tensor:
        out: Tensor = self.norm(self.project(x[:, :, :: self.ratio], width))
        return out

    @staticmethod
    def macs(width_source: int, width_target: int, ratio: int, kernel: int, size: Size) -> int:
        return width_source * width_target * size.positions


class TimeToChannel(nn.Module):
    """Time to channel: `ratio` neighbouring frames become channels, then 1x1x1 to C_S."""

    def __init__(self, width_source: int, width_target: int, ratio: int, kernel: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.project = Pointwise(width_source * ratio, width_target)
        self.norm = Norm(width_target)

    def forward(self, x: Tensor, width: int) -> Tensor:
        b, c, t, h, w = x.shape
        y = x.reshape(b, c, t // self.ratio, self.ratio, h, w).transpose(2, 3)  # channel-major: slices stay leading
        y = y.reshape(b, c * self.ratio, t // self.ratio, h, w)
        out: Tensor = self.norm(self.project(y, width))
        return out

    @staticmethod
    def macs(width_source: int, width_target: int, ratio: int, kernel: int, size: Size) -> int:
        return width_source * ratio * width_target * size.positions


FUSIONS: dict[str, type[StridedConv] | type[StridedSampling] | type[TimeToChannel]] = {
    "strided_conv": StridedConv,
    "strided_sampling": StridedSampling,
    "time_to_channel": TimeToChannel,
}
