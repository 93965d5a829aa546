"""The networks of "Deep Analysis": seven ways to see time, over ResNet and InceptionV1 (systems.md, section 6)."""

from torch import nn

from autovid.clip import Clip
from autovid.models.network import Network
from autovid.models.resnet import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, ResNet, make_stages
from autovid.nn.frames import FrameConv, FrameMaxPool
from autovid.nn.residual import BasicBlock, Bottleneck, Residual


def resnet(
    *,
    strategy: str,
    depth: int,
    classes: int = 400,
    frames: int = 8,
    crop: int = 224,
    temporal_pooling: bool = False,
    dropout: float = 0.5,
) -> Network:
    """A ResNet over clips, with one of the strategies of section 6."""
    clip = Clip(frames, crop, sampling="uniform", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    stem = nn.Sequential(
        FrameConv(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
        FrameMaxPool(3, stride=2, padding=1),
    )
    make = _bottleneck if depth >= 50 else _basic
    stages = make_stages(DEPTHS[depth], make)
    width = 2048 if depth >= 50 else 512
    return ResNet(stem, stages, [None, None, None], width, classes, clip, dropout)


def _basic(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    return BasicBlock(
        FrameConv(width_in, inner, 3, stride=stride, padding=1, bias=False),
        FrameConv(inner, inner, 3, padding=1, bias=False),
        inner,
        inner,
        _shortcut(width_in, inner, stride),
    )


def _bottleneck(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    return Bottleneck(
        FrameConv(width_in, inner, 1, bias=False),
        FrameConv(inner, inner, 3, stride=stride, padding=1, bias=False),
        FrameConv(inner, 4 * inner, 1, bias=False),
        inner,
        4 * inner,
        _shortcut(width_in, 4 * inner, stride),
    )


def _shortcut(width_in: int, width: int, stride: int) -> nn.Module | None:
    if stride == 1 and width_in == width:
        return None
    return nn.Sequential(FrameConv(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm3d(width))
