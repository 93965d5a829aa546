"""MBConv3d, the block of X3D, with kernels, expansion and width to be chosen (systems.md, section 2).

1x1x1 -> BN -> ReLU -> depthwise t x k x k -> BN -> squeeze-excitation on some -> Swish -> 1x1x1 -> BN, plus the input.
"""

import torch.nn.functional as F
from torch import Tensor

from autovid.blocks.elastic import Depthwise, Norm, Pointwise, SqueezeExcite
from autovid.blocks.site import Size
from autovid.layers.residual import Residual


def inner_width(width: int, expansion: float) -> int:
    """Channels inside a block: the expansion counts on the block's output, as in X3D."""
    return int(width * expansion)


class MBConv3d(Residual):
    """(B, C_in, T, H, W) -> (B, C_out, T, ceil(H / stride), ceil(W / stride)); arguments are the candidates.

    `widths_in` is None for a block whose input is as wide as its output, whichever width is chosen. The places of every
    residual block (`enter`, `leave`, `after`) are here too; `width` is the largest.
    """

    shortcut: Pointwise | None

    def __init__(
        self,
        widths_in: tuple[int, ...] | None,
        widths: tuple[int, ...],
        temporal_kernel: int,
        spatial_kernel: int,
        expansion: float,
        stride: int,
        squeeze: int,
    ) -> None:
        width_in, width = max(widths_in or widths), max(widths)
        super().__init__(width, None)
        inner = inner_width(width, expansion)
        self.stride = stride
        self.expand = Pointwise(width_in, inner)
        self.expand_norm = Norm(inner)
        self.depthwise = Depthwise(inner, temporal_kernel, spatial_kernel, stride)
        self.depthwise_norm = Norm(inner)
        self.squeeze = SqueezeExcite(inner, squeeze) if squeeze else None
        self.project = Pointwise(inner, width)
        self.project_norm = Norm(width, zero=True)  # a new block starts as the identity
        pairs = [(i, o) for i in widths_in for o in widths] if widths_in else [(width, width)]
        if any(needs_shortcut(*pair, stride) for pair in pairs):
            self.shortcut = Pointwise(width_in, width, stride)
            self.shortcut_norm: Norm | None = Norm(width)
        else:
            self.shortcut_norm = None

    def forward(  # type: ignore[override]  # the choices come with the call
        self, x: Tensor, width: int, temporal_kernel: int, spatial_kernel: int, expansion: float
    ) -> Tensor:
        y = F.relu(self.expand_norm(self.expand(self.enter(x), inner_width(width, expansion))))
        y = self.depthwise_norm(self.depthwise(y, temporal_kernel, spatial_kernel))
        if self.squeeze is not None:
            y = self.squeeze(y)
        y = self.leave(self.project_norm(self.project(F.silu(y), width)))
        if (
            self.shortcut is not None
            and self.shortcut_norm is not None
            and needs_shortcut(x.shape[1], width, self.stride)
        ):
            x = self.shortcut_norm(self.shortcut(x, width))
        out: Tensor = self.after(F.relu(x + y))
        return out

    @staticmethod
    def macs(
        width_in: int,
        width: int,
        temporal_kernel: int,
        spatial_kernel: int,
        expansion: float,
        stride: int,
        squeeze: int,
        size: Size,
    ) -> int:
        """MACs of one clip whose map has `size` before the block."""
        inner, out = inner_width(width, expansion), size.strided(stride)
        total = Pointwise.macs(width_in, inner, size) + Pointwise.macs(inner, width, out)
        total += Depthwise.macs(inner, temporal_kernel, spatial_kernel, out)
        if squeeze:
            total += SqueezeExcite.macs(inner, squeeze)
        if needs_shortcut(width_in, width, stride):
            total += Pointwise.macs(width_in, width, out)
        return total


def needs_shortcut(width_in: int, width: int, stride: int) -> bool:
    """Whether the input has to be projected before it can be added."""
    return stride != 1 or width_in != width
