"""The networks of "Deep Analysis": seven ways to see time, over ResNet and InceptionV1 (systems.md, section 6)."""

from torch import nn

from autovid.clip import Clip
from autovid.models.network import Network
from autovid.models.resnet import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, ResNet, make_stages
from autovid.nn.frames import FrameConv, FrameMaxPool
from autovid.nn.non_local import NonLocalBlock
from autovid.nn.residual import BasicBlock, Bottleneck, Residual
from autovid.nn.temporal_shift import TemporalShift


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
    net = ResNet(stem, stages, [None, None, None], width, classes, clip, dropout)
    for block in net.blocks():
        if strategy == "tsm":
            block.enter = TemporalShift()
    return net


def tsm_resnet50(
    *,
    classes: int = 400,
    frames: int = 8,
    crop: int = 224,
    temporal_pooling: bool = False,
    non_local: bool = False,
    dropout: float = 0.5,
) -> Network:
    """TSM-ResNet-50, with the five non-local blocks of its authors' code (keys and values sub-sampled) if asked for."""
    net = resnet(
        strategy="tsm",
        depth=50,
        classes=classes,
        frames=frames,
        crop=crop,
        temporal_pooling=temporal_pooling,
        dropout=dropout,
    )
    if non_local:
        add_non_local(net, subsample=True)
    return net


def add_non_local(net: Network, subsample: bool) -> None:
    """Puts a non-local block after every other block of res3 and res4: five in a ResNet-50."""
    for block in net.blocks():
        if block.stage in (3, 4) and block.index % 2 == 0:
            block.after = NonLocalBlock(block.width, subsample)


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
