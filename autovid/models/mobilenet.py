"""TSM-MobileNetV2: inverted residuals over every frame, with channels shifted between frames where they can be.

Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", 2018, arXiv 1801.04381. The shift is in front
of the blocks that expand and have a shortcut, ten of them, as in the TSM repository.
"""

from torch import Tensor, nn

from autovid.clip import Clip
from autovid.layers.convolutions import FrameConv
from autovid.layers.temporal_shift import TemporalShift
from autovid.models.network import StepNetwork, he_init, make_classifier
from autovid.models.resnet import IMAGENET_MEAN, IMAGENET_STD

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, blocks, stride of the first)"""
WIDTH = 1280


def tsm_mobilenet_v2(*, classes: int = 400, frames: int = 8, crop: int = 224, dropout: float = 0.5) -> "MobileNetV2":
    """Build TSM-MobileNetV2 of width 1."""
    clip = Clip(frames, crop, sampling="uniform", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return MobileNetV2(classes, clip, dropout)


class ConvNorm(nn.Sequential):
    """A 2-D convolution of every frame, batch norm, and ReLU6 unless `linear`."""

    def __init__(
        self, width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        conv = FrameConv(width_in, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm3d(width), *([] if linear else [nn.ReLU6(inplace=True)]))


class InvertedResidual(nn.Module):
    """A chain enter -> expand -> depthwise -> project, plus the input if the shape stays; `enter` is for a shift."""

    def __init__(self, width_in: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = width_in * expansion
        self.residual = stride == 1 and width_in == width
        self.enter: nn.Module = TemporalShift() if self.residual and expansion > 1 else nn.Identity()
        self.expand: nn.Module = ConvNorm(width_in, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, 3, stride, groups=inner)
        self.project = ConvNorm(inner, width, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(self.enter(x))))
        return x + y if self.residual else y


class MobileNetV2(StepNetwork):
    """Clip (B, 3, T, H, W) -> logits (B, classes): every frame is classified, and the logits are averaged."""

    def __init__(self, classes: int, clip: Clip, dropout: float) -> None:
        super().__init__(classes, clip)
        self.stem = ConvNorm(3, 32, 3, stride=2)
        self.stages = nn.ModuleList()
        width_in = 32
        for expansion, width, depth, stride in STAGES:
            blocks = []
            for index in range(depth):
                blocks.append(InvertedResidual(width_in, width, expansion, stride if index == 0 else 1))
                width_in = width
            self.stages.append(nn.Sequential(*blocks))
        self.head = ConvNorm(width_in, WIDTH, 1)
        he_init(self)
        self.dropout = nn.Dropout(dropout)
        self.classifier = make_classifier(WIDTH, classes)

    def cam_layer(self) -> nn.Module:
        return self.head

    def features(self, x: Tensor) -> Tensor:
        """Return the last map: (B, WIDTH, T, H / 32, W / 32)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.head(x)
        return out
