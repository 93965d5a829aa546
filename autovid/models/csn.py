"""Channel-separated networks: 3x3x3 convolutions of each channel alone, 1x1x1 ones that mix channels.

Tran et al., "Video classification with channel-separated convolutional networks", 2019, arXiv 1904.02811. "Reduced"
(ir-CSN) has a depthwise convolution where a ResNet's bottleneck has its 3x3; "preserved" (ip-CSN) has a 1x1x1
convolution and a batch norm before that, with no ReLU in between, as in VMZ, the authors' code. The authors'
checkpoints, and MMAction2's, want batch norms with an epsilon of 1e-3.
"""

from functools import partial
from typing import Literal

from torch import nn

from autovid.clip import Clip
from autovid.layers.convolutions import DepthwiseConv3d, PointwiseConv3d
from autovid.layers.residual import Bottleneck, Residual
from autovid.models.network import Network
from autovid.models.resnet import DEPTHS, PooledResNet, make_stages
from autovid.models.slowfast import make_stem


def csn(
    *,
    depth: int,
    classes: int = 400,
    frames: int = 32,
    crop: int = 224,
    interaction: Literal["reduced", "preserved"] = "reduced",
    norm_eps: float = 1e-5,
    zero_gamma: bool = True,
    dropout: float = 0.5,
) -> Network:
    """Build a channel-separated ResNet; res3, res4 and res5 halve time as well as space.

    Without `zero_gamma` the last norm of every block starts with scale 1, as the others do.
    """
    stages = make_stages(DEPTHS[depth], partial(_bottleneck, interaction == "preserved"))
    clip = Clip(frames, crop, stride=2)
    net = PooledResNet(make_stem(64, 3), stages, 2048, classes, clip, dropout, zero_gamma)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = norm_eps
    net.rms_kernel = (1, 3, 3)  # the last maps have too few frames for more (RMS's supplement, B.1)
    return net


def _bottleneck(preserved: bool, stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    width, steps = 4 * inner, (stride, stride, stride)
    shortcut = nn.Sequential(PointwiseConv3d(width_in, width, steps), nn.BatchNorm3d(width)) if index == 0 else None
    first, separated = PointwiseConv3d(width_in, inner), DepthwiseConv3d(inner, 3, steps)
    middle = nn.Sequential(PointwiseConv3d(inner, inner), nn.BatchNorm3d(inner), separated) if preserved else separated
    return Bottleneck(first, middle, PointwiseConv3d(inner, width), inner, width, shortcut)


csn_r50, csn_r101, csn_r152 = (partial(csn, depth=depth) for depth in (50, 101, 152))
