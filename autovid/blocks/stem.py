"""The first layers of a stream (X3D's)."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.block import Candidates, Choice
from autovid.blocks.elastic import ElasticBatchNorm, ElasticDepthwise, map_bytes
from autovid.blocks.site import StemSite
from autovid.layers.convolutions import channels_last, frame_conv3d, he_normal


class StemBlock:
    """The stem, of which nothing is searched."""

    choices: ClassVar[dict[str, Any]] = {}

    def build(self, site: StemSite, candidates: Candidates) -> "Stem":
        return Stem(max(candidates["width"]), site.temporal_kernel, site.spatial_kernel)

    def macs(self, site: StemSite, choice: Choice) -> int:
        conv = int(choice["width_in"]) * int(choice["width"]) * site.spatial_kernel**2 * site.size.positions
        return conv + ElasticDepthwise.macs(choice["width"], site.temporal_kernel, 1, site.size)

    def params(self, site: StemSite, choice: Choice) -> int:
        conv = int(choice["width_in"]) * int(choice["width"]) * site.spatial_kernel**2
        depthwise = ElasticDepthwise.params(choice["width"], site.temporal_kernel, 1)
        return conv + depthwise + ElasticBatchNorm.params(choice["width"])

    def activation_bytes(self, site: StemSite, choice: Choice) -> int:
        """Between the convolutions, before the norm and after ReLU."""
        return 2 * map_bytes(choice["width"], site.size) + ElasticBatchNorm.activation_bytes(choice["width"], site.size)

    def key(self, site: StemSite, choice: Choice) -> str:
        kernel = f"{site.temporal_kernel}x{site.spatial_kernel}x{site.spatial_kernel}"
        return f"stem {choice['width']} {kernel} every {site.frame_stride} on {site.size_in}"

    def label(self, site: StemSite, choice: Choice) -> tuple[str, ...]:
        return f"1×{site.spatial_kernel}²", f"{site.temporal_kernel}×1²"


class Stem(nn.Module):
    """1 x k x k convolution with spatial stride 2, depthwise t x 1 x 1, BN, ReLU: (B, 3, T, H, W) -> (B, C, T, ...)."""

    def __init__(self, width: int, temporal_kernel: int, spatial_kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(he_normal(torch.empty(width, 3, 1, spatial_kernel, spatial_kernel)))
        self.depthwise = ElasticDepthwise(width, temporal_kernel, 1)
        self.norm = ElasticBatchNorm(width)
        self.temporal_kernel = temporal_kernel

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        x = frame_conv3d(x, channels_last(self.weight), 2)
        x = self.norm(self.depthwise(x, self.temporal_kernel, 1))
        x = x.contiguous(memory_format=torch.channels_last_3d)  # one clip alone may have lost its layout
        return F.relu(x, inplace=True)
