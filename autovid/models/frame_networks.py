"""Networks of single frames: TANet, TDN and TSM-MobileNetV2 with a module that relates them; ResNets for images.

TANet: Liu et al., "TAM: Temporal adaptive module for video recognition", 2021, arXiv 2005.06803, laid out as in
MMAction2: a ResNet-50 with a temporal adaptive module in front of the 3x3 convolution of every block.

TDN: Wang et al., "TDN: Temporal difference networks for efficient action recognition", 2021, arXiv 2012.10071, as in
the code of its authors: a ResNet-50 over segments of five frames, whose convolutions have biases. The short-term module
runs the differences of the five frames of a segment beside the stem and res2; the long-term one and a learnable shift
sit in front of the 3x3 convolution in res3 to res5.

MobileNetV2: Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", 2018, arXiv 1801.04381. The shift
is in front of the blocks that expand and have a shortcut, ten of them, as in the TSM repository.

Image networks, with which RMS is compared, too (an image is a clip of one frame): Kim et al., "Regularization on
spatio-temporally smoothed feature for action recognition", CVPR 2020, section B.3 of the supplement; He et al., "Deep
residual learning for image recognition", 2016, arXiv 1512.03385: ResNet-50 for ImageNet is the one of the video
networks; ResNet-110 for CIFAR has three stages of 18 basic blocks, numbered 2 to 4 like those of the others, and
shortcuts without weights.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import BasicBlock, FrameConv, FrameMaxPool, Residual, fold, unfold
from autovid.layers.temporal_modules import (
    SNIPPET,
    LearnableShift,
    LongTermDifference,
    TemporalAdaptive,
    TemporalShift,
    differences,
    middle_frames,
)
from autovid.models.deep_analysis import resnet
from autovid.models.network import Network, StepNetwork, every_frame, he_init, make_classifier
from autovid.models.resnet import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, ResNet, frame_bottleneck, frame_stem, make_stages


class ShortTerm(nn.Module):
    """A branch of the differences of every segment, through a stem and a res2 of their own.

    (B, 3, 5 T, H, W) -> (B, 64, T, H / 8, W / 8) and (B, 256, T, H / 8, W / 8).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            FrameConv(3 * (SNIPPET - 1), 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            FrameMaxPool(3, stride=2, padding=1),
        )
        # The image convolution whose weights, averaged over colours, the stem starts from. It takes no part in the
        # forward pass; the authors' network holds it, and so do their checkpoints and the count of its parameters.
        self.image_conv = nn.Conv2d(3, 64, 7).requires_grad_(False)
        self.res2 = nn.Sequential(*(frame_bottleneck(64 if i == 0 else 256, 64, 1, bias=True) for i in range(3)))

    def start_from_image(self) -> None:
        """Give the stem the weights of the image convolution, as the authors do with ImageNet's."""
        with torch.no_grad():
            weight = self.stem.get_parameter("0.weight")
            weight.copy_(self.image_conv.weight.mean(1, keepdim=True).expand_as(weight))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.stem(differences(x))
        return early, self.res2(early)


class TDN(ResNet):
    """Clip (B, 3, 5 T, H, W) -> logits (B, classes): T segments of five frames."""

    def __init__(self, classes: int, clip: Clip, dropout: float) -> None:
        stages = make_stages(DEPTHS[50], _block)
        super().__init__(frame_stem(bias=True), stages, [None, None, None], 2048, classes, clip, dropout)
        self.short_term = ShortTerm()
        he_init(self.short_term)
        self.short_term.start_from_image()
        self.change_weight = 0.5 if clip.frames // SNIPPET == 8 else 0.25  # the images have the rest

    def blocks(self) -> list[Residual]:
        return [block for stage in self.stages for block in stage.children() if isinstance(block, Residual)]

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the middle frame of every segment."""
        return every_frame(x, SNIPPET, SNIPPET // 2)

    def features(self, x: Tensor) -> Tensor:
        early, late = self.short_term(x)
        x = self._fuse(self.stem(middle_frames(x)), early)
        x = self._fuse(self.stages[0](x), late)
        for stage in self.stages[1:]:
            x = stage(x)
        return x

    def _fuse(self, images: Tensor, changes: Tensor) -> Tensor:
        changes = unfold(F.interpolate(fold(changes), images.shape[3:]), images.shape[0])
        return (1 - self.change_weight) * images + self.change_weight * changes


def tanet_resnet50(*, classes: int = 400, frames: int = 8, crop: int = 224, dropout: float = 0.5) -> Network:
    """Build TANet-R50, for exactly `frames` frames: the module learns weights over them."""

    def block(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
        bottleneck = frame_bottleneck(width_in, inner, stride)
        bottleneck.conv2 = nn.Sequential(OrderedDict(adaptive=TemporalAdaptive(inner, frames), conv=bottleneck.conv2))
        return bottleneck

    clip = Clip(frames, crop, sampling="uniform", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    stages = make_stages(DEPTHS[50], block)
    return ResNet(frame_stem(), stages, [None, None, None], 2048, classes, clip, dropout)


def tdn_resnet50(*, classes: int = 400, frames: int = 40, crop: int = 224, dropout: float = 0.5) -> "TDN":
    """Build TDN-R50 over `frames` / 5 segments of five consecutive frames. Raises ConfigError for a rest."""
    if frames % SNIPPET:
        raise ConfigError(f"tdn_resnet50 sees segments of {SNIPPET} frames: frames must be a multiple, not {frames}")
    clip = Clip(frames, crop, sampling="uniform", snippet=SNIPPET, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return TDN(classes, clip, dropout)


def _block(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    bottleneck = frame_bottleneck(width_in, inner, stride, bias=True)
    if stage > 2:
        parts = OrderedDict(difference=LongTermDifference(inner), shift=LearnableShift(inner), conv=bottleneck.conv2)
        bottleneck.conv2 = nn.Sequential(parts)
    return bottleneck


STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, blocks, stride of the first)"""
WIDTH = 1280


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


def tsm_mobilenet_v2(*, classes: int = 400, frames: int = 8, crop: int = 224, dropout: float = 0.5) -> "MobileNetV2":
    """Build TSM-MobileNetV2 of width 1."""
    clip = Clip(frames, crop, sampling="uniform", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return MobileNetV2(classes, clip, dropout)


CIFAR_MEAN, CIFAR_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)  # of the training images of CIFAR-100


class PaddedShortcut(nn.Module):
    """Every other row and column, and zeros for the channels that are missing: (B, C, T, H, W) -> (B, width, ...)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        missing = self.width - x.shape[1]
        return F.pad(x[..., ::2, ::2], (0, 0, 0, 0, 0, 0, missing // 2, missing - missing // 2))


def resnet50_imagenet(*, classes: int = 1000, frames: int = 1, crop: int = 224, dropout: float = 0.0) -> Network:
    """Build ResNet-50 for images. Of more frames the logits are averaged."""
    return resnet(strategy="tsn", depth=50, classes=classes, frames=frames, crop=crop, dropout=dropout)


def resnet110_cifar(*, classes: int = 100, frames: int = 1, crop: int = 32, dropout: float = 0.0) -> Network:
    """Build ResNet-110 for images of 32 x 32. Of more frames the logits are averaged."""
    clip = Clip(frames, crop, sampling="uniform", mean=CIFAR_MEAN, std=CIFAR_STD)
    stem = nn.Sequential(FrameConv(3, 16, 3, padding=1, bias=False), nn.BatchNorm3d(16), nn.ReLU(inplace=True))
    stages = make_stages((18, 18, 18), _basic, 16, (16, 32, 64))
    return ResNet(stem, stages, [None, None], 64, classes, clip, dropout)


def _basic(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    first = FrameConv(width_in, inner, 3, stride=stride, padding=1, bias=False)
    second = FrameConv(inner, inner, 3, padding=1, bias=False)
    return BasicBlock(first, second, inner, inner, PaddedShortcut(inner) if stride > 1 else None)
