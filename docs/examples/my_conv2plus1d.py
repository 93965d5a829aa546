"""A block of one's own, with choices of its own: the (2+1)-D convolution of R(2+1)D as a residual block.

Tran et al., "A closer look at spatiotemporal convolutions for action recognition" (2018), arXiv:1711.11248.
1 x k x k -> BN -> ReLU -> t x 1 x 1 -> BN, plus the input. `middle` is the number of channels in between, as a multiple
of the block's width. Named on the command line with --plugin docs/examples/my_conv2plus1d.py.
"""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.block import Candidates, Choice, Expansion, Kernel
from autovid.blocks.elastic import ElasticBatchNorm, ElasticConv, ElasticPointwise, map_bytes
from autovid.blocks.registry import BLOCKS
from autovid.blocks.site import BlockSite


class Conv2Plus1D(nn.Module):
    """(B, C_in, T, H, W) -> (B, C_out, T, H / stride, W / stride)."""

    def __init__(self, width_in: int, width: int, middle: int, kernels: tuple[int, int], stride: int, projects: bool):
        super().__init__()
        self.stride = stride
        self.space = ElasticConv(width_in, middle, 1, kernels[1], stride)
        self.space_norm = ElasticBatchNorm(middle)
        self.time = ElasticConv(middle, width, kernels[0], 1)
        self.time_norm = ElasticBatchNorm(width, zero=True)  # a new block starts as the identity
        self.shortcut = ElasticPointwise(width_in, width, stride) if projects else None
        self.shortcut_norm = ElasticBatchNorm(width) if projects else None

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        width, middle = choice["width"], _middle(choice)
        y = F.relu(self.space_norm(self.space(x, middle, 1, choice["spatial_kernel"])))
        y = self.time_norm(self.time(y, width, choice["temporal_kernel"], 1))
        if self.shortcut is not None and self.shortcut_norm is not None and _projects(choice, self.stride):
            x = self.shortcut_norm(self.shortcut(x, width))
        return F.relu(x + y)


@BLOCKS.register("conv2plus1d", "convolution over space, then over time, as in R(2+1)D")
class Conv2Plus1DBlock:
    """What `Conv2Plus1D` costs, and how it is built: large enough for all candidates."""

    choices: ClassVar[dict[str, Any]] = {"temporal_kernel": Kernel, "spatial_kernel": Kernel, "middle": Expansion}

    def build(self, site: BlockSite, candidates: Candidates) -> nn.Module:
        widths_in, widths = candidates["width_in"], candidates["width"]
        projects = site.stride > 1 or (not site.keeps_width and any(i != o for i in widths_in for o in widths))
        kernels = max(candidates["temporal_kernel"]), max(candidates["spatial_kernel"])
        middle = int(max(widths) * max(candidates["middle"]))
        return Conv2Plus1D(max(widths_in), max(widths), middle, kernels, site.stride, projects)

    def macs(self, site: BlockSite, choice: Choice) -> int:
        width_in, width, middle = choice["width_in"], choice["width"], _middle(choice)
        total = ElasticConv.macs(width_in, middle, 1, choice["spatial_kernel"], site.size)
        total += ElasticConv.macs(middle, width, choice["temporal_kernel"], 1, site.size)
        if _projects(choice, site.stride):
            total += ElasticPointwise.macs(width_in, width, site.size)
        return total

    def params(self, site: BlockSite, choice: Choice) -> int:
        width_in, width, middle = choice["width_in"], choice["width"], _middle(choice)
        total = ElasticConv.params(width_in, middle, 1, choice["spatial_kernel"]) + ElasticBatchNorm.params(middle)
        total += ElasticConv.params(middle, width, choice["temporal_kernel"], 1) + ElasticBatchNorm.params(width)
        if _projects(choice, site.stride):
            total += ElasticPointwise.params(width_in, width) + ElasticBatchNorm.params(width)
        return total

    def activation_bytes(self, site: BlockSite, choice: Choice) -> int:
        """What the norms keep, and what comes out of both ReLUs."""
        width, middle = choice["width"], _middle(choice)
        total = ElasticBatchNorm.activation_bytes(middle, site.size) + map_bytes(middle, site.size)
        total += ElasticBatchNorm.activation_bytes(width, site.size) + map_bytes(width, site.size)
        if _projects(choice, site.stride):
            total += ElasticBatchNorm.activation_bytes(width, site.size)
            total += map_bytes(choice["width_in"], site.size) if site.stride > 1 else 0  # every stride-th pixel
        return total

    def key(self, site: BlockSite, choice: Choice) -> str:
        kernel = f"{choice['temporal_kernel']}x{choice['spatial_kernel']}x{choice['spatial_kernel']}"
        widths = f"{choice['width_in']}>{_middle(choice)}>{choice['width']}"
        return f"conv2plus1d {widths} {kernel} stride {site.stride} on {site.size_in}"

    def label(self, site: BlockSite, choice: Choice) -> tuple[str, ...]:
        return f"1×{choice['spatial_kernel']}²", f"{choice['temporal_kernel']}×1²", f"×{choice['middle']:g}"


def _middle(choice: Choice) -> int:
    return int(choice["width"] * choice["middle"])


def _projects(choice: Choice, stride: int) -> bool:
    """True where the input has to be projected before it can be added."""
    return stride > 1 or choice["width_in"] != choice["width"]
