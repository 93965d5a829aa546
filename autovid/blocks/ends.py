"""The ends of a searched network: the stem of every stream; its head, and the classifier behind all (those of X3D)."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.block import Candidates, Choice
from autovid.blocks.elastic import FLOAT, ElasticBatchNorm, ElasticDepthwise, ElasticLinear, ElasticPointwise, map_bytes
from autovid.blocks.site import ClassifierSite, HeadSite, StemSite
from autovid.kernels.maps import mean_of_pixels
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


class HeadBlock:
    """The head of a stream."""

    choices: ClassVar[dict[str, Any]] = {}

    def build(self, site: HeadSite, candidates: Candidates) -> "Head":
        return Head(max(candidates["width_in"]), max(candidates["width"]))

    def macs(self, site: HeadSite, choice: Choice) -> int:
        return ElasticPointwise.macs(choice["width_in"], choice["width"], site.size_in)

    def params(self, site: HeadSite, choice: Choice) -> int:
        conv = ElasticPointwise.params(choice["width_in"], choice["width"])
        return conv + ElasticBatchNorm.params(choice["width"])

    def activation_bytes(self, site: HeadSite, choice: Choice) -> int:
        """Before the norm and after ReLU."""
        norm = ElasticBatchNorm.activation_bytes(choice["width"], site.size_in)
        return norm + map_bytes(choice["width"], site.size_in)

    def key(self, site: HeadSite, choice: Choice) -> str:
        return f"head {choice['width_in']}>{choice['width']} on {site.size_in}"

    def label(self, site: HeadSite, choice: Choice) -> tuple[str, ...]:
        return ("1×1²",)


class Head(nn.Module):
    """1x1x1 convolution, BN, ReLU, mean over (T, H, W): (B, C, T, H, W) -> (B, width)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv = ElasticPointwise(width_in, width)
        self.norm = ElasticBatchNorm(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        return mean_of_pixels(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the map that is averaged, (B, width, T, H, W)."""
        out: Tensor = self.relu(self.norm(self.conv(x, self.width)))
        return out


class ClassifierBlock:
    """The classifier of the features of all streams."""

    choices: ClassVar[dict[str, Any]] = {}

    def build(self, site: ClassifierSite, candidates: Candidates) -> "Classifier":
        return Classifier(max(candidates["width_in"]), max(candidates["width"]), site.classes, site.dropout)

    def macs(self, site: ClassifierSite, choice: Choice) -> int:
        hidden = ElasticLinear.macs(choice["width_in"], choice["width"])
        return hidden + ElasticLinear.macs(choice["width"], site.classes)

    def params(self, site: ClassifierSite, choice: Choice) -> int:
        hidden = ElasticLinear.params(choice["width_in"], choice["width"], bias=False)
        return hidden + ElasticLinear.params(choice["width"], site.classes)

    def activation_bytes(self, site: ClassifierSite, choice: Choice) -> int:
        """Count bytes of the features, the hidden ones after ReLU, and with dropout its mask and what it leaves."""
        width_in, width = int(choice["width_in"]), int(choice["width"])
        return FLOAT * (width_in + width * (3 if site.dropout else 1))

    def key(self, site: ClassifierSite, choice: Choice) -> str:
        return f"classifier {choice['width_in']}>{choice['width']}>{site.classes}"

    def label(self, site: ClassifierSite, choice: Choice) -> tuple[str, ...]:
        return (f"{choice['width_in']} features → {choice['width']} → {site.classes} classes",)


class Classifier(nn.Module):
    """Linear, ReLU, dropout, linear (X3D's, without bias in the first): features (B, C) of streams -> (B, classes)."""

    def __init__(self, width_in: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.width, self.classes = width, classes
        self.hidden = ElasticLinear(width_in, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = ElasticLinear(width, classes)
        nn.init.normal_(self.output.weight, 0.0, 0.01)

    def forward(self, *features: Tensor, choice: Choice) -> Tensor:
        return self.classify(torch.cat(features, 1))

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of features that are one tensor already, (B, features) -> (B, classes)."""
        out: Tensor = self.output(self.dropout(F.relu(self.hidden(features, self.width))), self.classes)
        return out
