"""TANet: a ResNet-50 of every frame with a temporal adaptive module in front of the 3x3 convolution of every block.

Liu et al., "TAM: Temporal adaptive module for video recognition", 2021, arXiv 2005.06803, laid out as MMAction2's
TANet.
"""

from collections import OrderedDict

from torch import nn

from autovid.clip import Clip
from autovid.layers.residual import Residual
from autovid.layers.temporal_adaptive import TemporalAdaptive
from autovid.models.network import Network
from autovid.models.resnet import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, ResNet, frame_bottleneck, frame_stem, make_stages


def tanet_resnet50(*, classes: int = 400, frames: int = 8, crop: int = 224, dropout: float = 0.5) -> Network:
    """Build TANet-R50, for exactly `frames` frames: the module learns weights over them."""

    def block(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
        bottleneck = frame_bottleneck(width_in, inner, stride)
        bottleneck.conv2 = nn.Sequential(OrderedDict(adaptive=TemporalAdaptive(inner, frames), conv=bottleneck.conv2))
        return bottleneck

    clip = Clip(frames, crop, sampling="uniform", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    stages = make_stages(DEPTHS[50], block)
    return ResNet(frame_stem(), stages, [None, None, None], 2048, classes, clip, dropout)
