"""MBConv3d, the block of X3D, with kernels, expansion and width to be chosen.

Feichtenhofer, "X3D: Expanding architectures for efficient video recognition", 2020, arXiv:2004.04730; the choices are
those of docs/papers.md#auto-tsnet.

1x1x1 -> BN -> ReLU -> depthwise t x k x k -> BN -> squeeze-excitation on some -> Swish -> 1x1x1 -> BN, plus the input.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autovid.blocks.block import Candidates, Choice, Expansion, Kernel
from autovid.blocks.elastic import ElasticBatchNorm, ElasticDepthwise, ElasticPointwise, SqueezeExcite, map_bytes
from autovid.blocks.site import BlockSite
from autovid.layers.convolutions import Residual


class MBConv3dBlock:
    """MBConv3d at a site of a stage; its width is a decision of the stage."""

    choices: ClassVar[dict[str, Any]] = {"temporal_kernel": Kernel, "spatial_kernel": Kernel, "expansion": Expansion}

    def build(self, site: BlockSite, candidates: Candidates) -> "MBConv3d":
        kernels = max(candidates["temporal_kernel"]), max(candidates["spatial_kernel"])
        widths_in = None if site.keeps_width else candidates["width_in"]
        expansion = max(candidates["expansion"])
        return MBConv3d(widths_in, candidates["width"], *kernels, expansion, site.stride, site.squeeze)

    def macs(self, site: BlockSite, choice: Choice) -> int:
        width, before, after = choice["width"], site.size_in, site.size
        inner = inner_width(width, choice["expansion"])
        total = ElasticPointwise.macs(choice["width_in"], inner, before) + ElasticPointwise.macs(inner, width, after)
        total += ElasticDepthwise.macs(inner, choice["temporal_kernel"], choice["spatial_kernel"], after)
        if site.squeeze:
            total += SqueezeExcite.macs(inner, site.squeeze)
        if needs_shortcut(choice["width_in"], width, site.stride):
            total += ElasticPointwise.macs(choice["width_in"], width, after)
        return total

    def params(self, site: BlockSite, choice: Choice) -> int:
        width_in, width = choice["width_in"], choice["width"]
        inner = inner_width(width, choice["expansion"])
        total = ElasticPointwise.params(width_in, inner) + ElasticPointwise.params(inner, width)
        total += ElasticDepthwise.params(inner, choice["temporal_kernel"], choice["spatial_kernel"])
        total += 2 * ElasticBatchNorm.params(inner) + ElasticBatchNorm.params(width)
        if site.squeeze:
            total += SqueezeExcite.params(inner, site.squeeze)
        if needs_shortcut(width_in, width, site.stride):
            total += ElasticPointwise.params(width_in, width) + ElasticBatchNorm.params(width)
        return total

    def activation_bytes(self, site: BlockSite, choice: Choice) -> int:
        width, before, after = choice["width"], site.size_in, site.size
        inner = inner_width(width, choice["expansion"])
        total = ElasticBatchNorm.activation_bytes(inner, before) + map_bytes(inner, before)  # after ReLU
        total += ElasticBatchNorm.activation_bytes(inner, after) + 2 * map_bytes(inner, after)  # before and after Swish
        total += ElasticBatchNorm.activation_bytes(width, after) + map_bytes(width, after)  # after ReLU
        if site.squeeze:
            total += SqueezeExcite.activation_bytes(inner, site.squeeze, after)
        if needs_shortcut(choice["width_in"], width, site.stride):
            total += ElasticBatchNorm.activation_bytes(width, after)
            total += map_bytes(choice["width_in"], after) if site.stride > 1 else 0  # a copy of every stride-th pixel
        return total

    def key(self, site: BlockSite, choice: Choice) -> str:
        kernel = f"{choice['temporal_kernel']}x{choice['spatial_kernel']}x{choice['spatial_kernel']}"
        own = f"{kernel} x{float(choice['expansion']):g} stride {site.stride} squeeze {site.squeeze}"
        return f"block {choice['width_in']}>{choice['width']} {own} on {site.size_in}"

    def label(self, site: BlockSite, choice: Choice) -> tuple[str, ...]:
        kernel = f"{choice['temporal_kernel']}×{choice['spatial_kernel']}²"
        return (kernel, f"×{choice['expansion']:g}", *(["SE"] if site.squeeze else []))


class MBConv3d(Residual):
    """(B, C_in, T, H, W) -> (B, C_out, T, ceil(H / stride), ceil(W / stride)); arguments are the candidates.

    `widths_in` is None for a block whose input is as wide as its output, whichever width is chosen. The places of every
    residual block (`enter`, `leave`, `after`) are here too; `width` is the largest.
    """

    shortcut: ElasticPointwise | None

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
        self.expand = ElasticPointwise(width_in, inner)
        self.expand_norm = ElasticBatchNorm(inner)
        self.depthwise = ElasticDepthwise(inner, temporal_kernel, spatial_kernel, stride)
        self.depthwise_norm = ElasticBatchNorm(inner)
        self.squeeze = SqueezeExcite(inner, squeeze) if squeeze else None
        self.project = ElasticPointwise(inner, width)
        self.project_norm = ElasticBatchNorm(width, zero=True)  # a new block starts as the identity
        pairs = [(i, o) for i in widths_in for o in widths] if widths_in else [(width, width)]
        if any(needs_shortcut(*pair, stride) for pair in pairs):
            self.shortcut = ElasticPointwise(width_in, width, stride)
            self.shortcut_norm: ElasticBatchNorm | None = ElasticBatchNorm(width)
        else:
            self.shortcut_norm = None

    def forward(self, x: Tensor, choice: Choice) -> Tensor:  # type: ignore[override]  # it comes with the call
        width = choice["width"]
        y = self.expand_norm(self.expand(self.enter(x), inner_width(width, choice["expansion"])))
        y = F.relu(y, inplace=True)
        y = self.depthwise_norm(self.depthwise(y, choice["temporal_kernel"], choice["spatial_kernel"]))
        if self.squeeze is not None:
            y = self.squeeze(y)
        y = F.silu(y, inplace=not torch.is_grad_enabled())  # backward needs what goes in
        y = self.leave(self.project_norm(self.project(y, width)))
        if (
            self.shortcut is not None
            and self.shortcut_norm is not None
            and needs_shortcut(x.shape[1], width, self.stride)
        ):
            x = self.shortcut_norm(self.shortcut(x, width))
        out: Tensor = self.after(F.relu(x + y, inplace=True))
        return out


def inner_width(width: int, expansion: float) -> int:
    """Channels inside a block: the expansion counts on the block's output, as in X3D."""
    return int(width * expansion)


def needs_shortcut(width_in: int, width: int, stride: int) -> bool:
    """Say whether the input has to be projected before it can be added."""
    return stride != 1 or width_in != width
