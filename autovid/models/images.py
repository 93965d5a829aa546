"""Image networks, with which RMS is compared, too; an image is a clip of one frame.

Kim et al., "Regularization on spatio-temporally smoothed feature for action recognition", CVPR 2020, section B.3 of the
supplement; He et al., "Deep residual learning for image recognition", 2016, arXiv 1512.03385: ResNet-50 for ImageNet is
the one of the video networks; ResNet-110 for CIFAR has three stages of 18 basic blocks, numbered 2 to 4 like those of
the others, and shortcuts without weights.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.layers.convolutions import FrameConv
from autovid.layers.residual import BasicBlock, Residual
from autovid.models.deep_analysis import resnet
from autovid.models.network import Network
from autovid.models.resnet import ResNet, make_stages

CIFAR_MEAN, CIFAR_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)  # of the training images of CIFAR-100


def resnet50_imagenet(*, classes: int = 1000, frames: int = 1, crop: int = 224, dropout: float = 0.0) -> Network:
    """Build ResNet-50 for images. Of more frames the logits are averaged."""
    return resnet(strategy="tsn", depth=50, classes=classes, frames=frames, crop=crop, dropout=dropout)


def resnet110_cifar(*, classes: int = 100, frames: int = 1, crop: int = 32, dropout: float = 0.0) -> Network:
    """Build ResNet-110 for images of 32 x 32. Of more frames the logits are averaged."""
    clip = Clip(frames, crop, sampling="uniform", mean=CIFAR_MEAN, std=CIFAR_STD)
    stem = nn.Sequential(FrameConv(3, 16, 3, padding=1, bias=False), nn.BatchNorm3d(16), nn.ReLU(inplace=True))
    stages = make_stages((18, 18, 18), _basic, 16, (16, 32, 64))
    return ResNet(stem, stages, [None, None], 64, classes, clip, dropout)


class PaddedShortcut(nn.Module):
    """Every other row and column, and zeros for the channels that are missing: (B, C, T, H, W) -> (B, width, ...)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        missing = self.width - x.shape[1]
        return F.pad(x[..., ::2, ::2], (0, 0, 0, 0, 0, 0, missing // 2, missing - missing // 2))


def _basic(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    first = FrameConv(width_in, inner, 3, stride=stride, padding=1, bias=False)
    second = FrameConv(inner, inner, 3, padding=1, bias=False)
    return BasicBlock(first, second, inner, inner, PaddedShortcut(inner) if stride > 1 else None)
