"""InceptionV1 for clips: three convolutions, nine inception modules, four max-pools, a classifier of every frame.

Szegedy et al., "Going deeper with convolutions", 2015, arXiv 1409.4842, as torchvision's GoogLeNet, whose weights the
networks of Chen et al., "Deep Analysis", 2021, arXiv 2010.11757, start from: batch norm after every convolution, and 3
x 3 where the paper's branch is 5 x 5.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.models.network import StepNetwork, he_init

WIDTHS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}  # channels in; of the 1 x 1 branch; inside and of the first, of the second 3 x 3 branch; of the pooled branch
EPS = 1e-3  # of every batch norm


class InceptionV1(StepNetwork):
    """Clip (B, 3, T, H, W) -> logits (B, classes), the mean of the time steps'.

    `layers` run in their order; `after` has the modules behind some of them, by the same names. `widths` are the
    channels of the layers that have weights.
    """

    widths: Mapping[str, int]

    def __init__(self, parts: "Parts", classes: int, clip: Clip, dropout: float) -> None:
        super().__init__(classes, clip)
        modules = {f"inception{name}": Inception(parts, widths) for name, widths in WIDTHS.items()}
        stem = {
            "conv1": ConvUnit(parts.stem, 64),
            "conv2": ConvUnit(parts.pointwise(64, 64), 64),
            "conv3": ConvUnit(parts.conv(64, 192), 192),
        }
        self.widths = {"conv1": 64, "conv2": 64, "conv3": 192, **{name: m.width for name, m in modules.items()}}
        self.layers, self.after = nn.ModuleDict(), nn.ModuleDict()
        before = ("conv2", "inception3a", "inception4a", "inception5a")
        for name, layer in (stem | modules).items():
            if name in before:
                number = before.index(name)
                self.layers[f"pool{number + 1}"] = parts.pools[number]
            self.layers[name] = layer
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(1024, classes)
        he_init(self)
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def cam_layer(self) -> nn.Module:
        """Return the last inception module; an aggregation over time behind it could make the map negative."""
        return self.layers["inception5b"]

    def features(self, x: Tensor) -> Tensor:
        for name, layer in self.layers.items():
            x = layer(x)
            if name in self.after:
                x = self.after[name](x)
        return x


class Inception(nn.Module):
    """Four branches side by side: (B, C, T, H, W) -> (B, width, T, H, W).

    `enter` is before the two branches with a 3 x 3 convolution; the identity by default.
    """

    def __init__(self, parts: "Parts", widths: tuple[int, int, int, int, int, int, int]) -> None:
        super().__init__()
        width_in, one, inner2, two, inner3, three, pooled = widths
        self.width = one + two + three + pooled
        self.enter: nn.Module = nn.Identity()

        def reduced(inner: int, width: int) -> nn.Sequential:
            first = ConvUnit(parts.pointwise(width_in, inner), inner)
            return nn.Sequential(first, ConvUnit(parts.conv(inner, width), width))

        self.branch1 = ConvUnit(parts.pointwise(width_in, one), one)
        self.branch2 = reduced(inner2, two)
        self.branch3 = reduced(inner3, three)
        self.branch4 = nn.Sequential(parts.pool(), ConvUnit(parts.pointwise(width_in, pooled), pooled))

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        return torch.cat([self.branch1(x), self.branch2(entered), self.branch3(entered), self.branch4(x)], 1)


class ConvUnit(nn.Module):
    """A convolution, batch norm and ReLU: (B, C, T, H, W) -> (B, width, T', H', W')."""

    def __init__(self, conv: nn.Module, width: int) -> None:
        super().__init__()
        self.conv, self.norm = conv, nn.BatchNorm3d(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Parts(NamedTuple):
    """Convolutions and pools of an InceptionV1 for images, or for clips, without norms and ReLUs."""

    stem: nn.Module  # 7 x 7, 3 -> 64 channels
    conv: Callable[[int, int], nn.Module]  # 3 x 3, channels in and out
    pointwise: Callable[[int, int], nn.Module]
    pool: Callable[[], nn.Module]  # 3 x 3, stride 1, inside the modules
    pools: tuple[nn.Module, nn.Module, nn.Module, nn.Module]  # stride 2: after conv1, before the modules 3a, 4a and 5a
