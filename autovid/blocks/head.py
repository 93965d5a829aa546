"""The end of every stream, and the classifier behind all of them (X3D's)."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.block import Candidates, Choice
from autovid.blocks.elastic import FLOAT, ElasticBatchNorm, ElasticLinear, ElasticPointwise, map_bytes
from autovid.blocks.site import ClassifierSite, HeadSite
from autovid.kernels.maps import mean_of_pixels


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
