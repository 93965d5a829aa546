"""Fusion of two streams: dense features (B, C_D, T_D, H, W) become an addend for sparse ones (B, C_S, T_S, H, W).

The four operations of Gong et al., "Searching for two-stream models in multivariate space for video recognition", 2021,
arXiv:2108.12957, supplement, section 2. `ratio` is T_D / T_S. Batch norm after the pointwise convolution is ours.
"Skip" is the absence of a module. Another operation is one file with a module and its costs, and one line in the
registry.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.block import SKIP, Candidates, Choice, FusionName
from autovid.blocks.elastic import ElasticBatchNorm, ElasticPointwise, map_bytes, slice_shared
from autovid.blocks.registry import FUSIONS
from autovid.blocks.site import FusionSite, Operations
from autovid.layers.convolutions import he_normal


class FusionBlock(Operations[FusionSite]):
    """A fusion operation and the addition to the target's map."""

    choices: ClassVar[dict[str, Any]] = {"operation": FusionName}
    registry = FUSIONS

    def build(self, site: FusionSite, candidates: Candidates) -> "Fusions":
        return Fusions(self.modules(site, candidates))

    def activation_bytes(self, site: FusionSite, choice: Choice) -> int:
        """Return bytes of the operation, and of the sum."""
        if choice["operation"] == SKIP:
            return 0
        return super().activation_bytes(site, choice) + map_bytes(choice["width"], site.size)


class Fusions(nn.ModuleDict):
    """All operations that may stand at a site: (source's map, target's map) -> the target's next map."""

    def forward(self, source: Tensor, target: Tensor, choice: Choice) -> Tensor:
        if choice["operation"] == SKIP:
            return target
        out: Tensor = target + self[choice["operation"]](source, choice=choice)
        return out


class FusionOperation:
    """An operation that gathers channels of the source and ends in a 1x1x1 convolution to the target's width and BN.

    `gathered` is the number of channels that go into the convolution for each channel of the source.
    """

    choices: ClassVar[dict[str, Any]] = {}

    def gathered(self, site: FusionSite) -> int:
        return 1

    def macs(self, site: FusionSite, choice: Choice) -> int:
        return ElasticPointwise.macs(choice["width_in"] * self.gathered(site), choice["width"], site.size)

    def params(self, site: FusionSite, choice: Choice) -> int:
        project = ElasticPointwise.params(choice["width_in"] * self.gathered(site), choice["width"])
        return project + ElasticBatchNorm.params(choice["width"])

    def activation_bytes(self, site: FusionSite, choice: Choice) -> int:
        """Return bytes of a copy that goes into the convolution, and of the norm."""
        gathered = map_bytes(choice["width_in"] * self.gathered(site), site.size)
        return gathered + ElasticBatchNorm.activation_bytes(choice["width"], site.size)

    def key(self, site: FusionSite, choice: Choice) -> str:
        widths = f"{choice['width_in']}>{choice['width']}"
        return f"{choice['operation']} {widths} ratio {site.ratio} kernel {site.kernel} on {site.size}"


class StridedConvFusion(FusionOperation):
    """A convolution over time that keeps the source's channels and mixes them."""

    def build(self, site: FusionSite, candidates: Candidates) -> nn.Module:
        return StridedConv(max(candidates["width_in"]), max(candidates["width"]), site.ratio, site.kernel)

    def macs(self, site: FusionSite, choice: Choice) -> int:
        return super().macs(site, choice) + site.kernel * int(choice["width_in"]) ** 2 * site.size.positions

    def params(self, site: FusionSite, choice: Choice) -> int:
        return super().params(site, choice) + site.kernel * int(choice["width_in"]) ** 2

    def label(self, site: FusionSite, choice: Choice) -> tuple[str, ...]:
        return ("strided conv",)


class StridedSamplingFusion(FusionOperation):
    """Every `ratio`-th frame of the source."""

    def build(self, site: FusionSite, candidates: Candidates) -> nn.Module:
        return StridedSampling(max(candidates["width_in"]), max(candidates["width"]), site.ratio)

    def activation_bytes(self, site: FusionSite, choice: Choice) -> int:
        """All frames are the source's own map."""
        own = map_bytes(choice["width_in"], site.size) if site.ratio == 1 else 0
        return super().activation_bytes(site, choice) - own

    def label(self, site: FusionSite, choice: Choice) -> tuple[str, ...]:
        return ("sampling",)


class TimeToChannelFusion(FusionOperation):
    """Neighbouring frames of the source as channels."""

    def build(self, site: FusionSite, candidates: Candidates) -> nn.Module:
        return TimeToChannel(max(candidates["width_in"]), max(candidates["width"]), site.ratio)

    def gathered(self, site: FusionSite) -> int:
        return site.ratio

    def activation_bytes(self, site: FusionSite, choice: Choice) -> int:
        """One frame each is the source's own map."""
        own = map_bytes(choice["width_in"], site.size) if site.ratio == 1 else 0
        return super().activation_bytes(site, choice) - own

    def label(self, site: FusionSite, choice: Choice) -> tuple[str, ...]:
        return ("time → channel",)


class StridedConv(nn.Module):
    """Time-strided convolution: kernel x 1 x 1 with stride `ratio` in time, then 1x1x1 to C_S.

    The convolution over time keeps the C_D channels and mixes them, as the laterals of SlowFast do.
    """

    def __init__(self, width_source: int, width_target: int, ratio: int, kernel: int) -> None:
        super().__init__()
        self.ratio, self.kernel = ratio, kernel
        self.weight = nn.Parameter(he_normal(torch.empty(width_source, width_source, kernel, 1, 1)))
        self.project = ElasticPointwise(width_source, width_target)
        self.norm = ElasticBatchNorm(width_target)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        c = x.shape[1]
        y = F.conv3d(x, slice_shared(self.weight, c, c), stride=(self.ratio, 1, 1), padding=(self.kernel // 2, 0, 0))
        out: Tensor = self.norm(self.project(y, choice["width"]))
        return out


class StridedSampling(nn.Module):
    """Time-strided sampling: every `ratio`-th frame, then 1x1x1 to C_S."""

    def __init__(self, width_source: int, width_target: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.project = ElasticPointwise(width_source, width_target)
        self.norm = ElasticBatchNorm(width_target)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        out: Tensor = self.norm(self.project(x[:, :, :: self.ratio], choice["width"]))
        return out


class TimeToChannel(nn.Module):
    """Time to channel: `ratio` neighbouring frames become channels, then 1x1x1 to C_S."""

    def __init__(self, width_source: int, width_target: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.project = ElasticPointwise(width_source * ratio, width_target)
        self.norm = ElasticBatchNorm(width_target)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        b, c, t, h, w = x.shape
        frames = x.permute(0, 2, 3, 4, 1).reshape(b, t // self.ratio, self.ratio, h, w, c)
        y = frames.permute(0, 1, 3, 4, 5, 2).flatten(4).permute(0, 4, 1, 2, 3)  # channel-major: slices stay leading
        out: Tensor = self.norm(self.project(y, choice["width"]))
        return out
