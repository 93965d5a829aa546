"""SlowFast, SlowOnly, and channel-separated networks (CSN).

SlowFast: Feichtenhofer et al., "SlowFast networks for video recognition", 2019, arXiv 1812.03982, as in PySlowFast: a
path of few frames with many channels, and one of all frames with few channels. SlowOnly by Table A1 of Kim et al.,
"Regularization on spatio-temporally smoothed feature for action recognition", CVPR 2020. `SlowFast 8x8` is 8 frames for
the slow path, 8 apart; the fast path sees `alpha` times as many with an eighth of the channels, and a lateral
convolution over time adds twice its channels to the channels of the slow path before every stage. Different here: the
slow path takes every alpha-th frame, from the first on, as the paper says; the loader of PySlowFast spreads the same
number evenly from the first frame to the last. Convolutions that span one frame have 4-D weights.

CSN: Tran et al., "Video classification with channel-separated convolutional networks", 2019, arXiv 1904.02811: 3x3x3
convolutions of each channel alone, 1x1x1 ones that mix channels. "Reduced" (ir-CSN) has a depthwise convolution where
the bottleneck of a ResNet has its 3x3; "preserved" (ip-CSN) has a 1x1x1 convolution and a batch norm before that, with
no ReLU in between, as in VMZ, the code of its authors. Their checkpoints, and those of MMAction2, want batch norms with
an epsilon of 1e-3.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import (
    BasicBlock,
    Bottleneck,
    DepthwiseConv3d,
    FrameConv,
    FrameMaxPool,
    PointwiseConv3d,
    Residual,
    TemporalConv,
)
from autovid.models.network import Network, every_frame, he_init, make_classifier
from autovid.models.resnet import DEPTHS, PooledResNet, make_stages, zero_last_norms

BETA = 8  # the fast path has 1 / BETA of the channels
SLOW_KERNELS = {2: 1, 3: 1, 4: 3, 5: 3}  # temporal kernels of res2 ... res5
FAST_KERNELS = {2: 3, 3: 3, 4: 3, 5: 3}


class Pathway(nn.Module):
    """A stem and four stages. The network runs them, since the laterals join the paths in between."""

    def __init__(self, stem: nn.Module, stages: nn.ModuleList) -> None:
        super().__init__()
        self.stem, self.stages = stem, stages


class SlowFast(Network):
    """Clip (B, 3, T, H, W), T a multiple of `alpha` -> logits (B, classes)."""

    def __init__(
        self,
        slow: Pathway,
        fast: Pathway,
        laterals: nn.ModuleList,
        alpha: int,
        classes: int,
        clip: Clip,
        dropout: float,
        zero_gamma: bool,
    ) -> None:
        super().__init__()
        self.clip, self.classes, self.alpha = clip, classes, alpha
        self.slow, self.fast, self.laterals = slow, fast, laterals
        he_init(self)
        if zero_gamma:
            zero_last_norms(self)
        self.dropout = nn.Dropout(dropout)
        self.classifier = make_classifier(2048 + 2048 // BETA, classes)

    def forward(self, x: Tensor) -> Tensor:
        slow, fast = self.slow.stem(x[:, :, :: self.alpha]), self.fast.stem(x)
        for lateral, slow_stage, fast_stage in zip(self.laterals, self.slow.stages, self.fast.stages):
            slow, fast = slow_stage(torch.cat([slow, lateral(fast)], 1)), fast_stage(fast)
        features = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits

    def cam_layer(self) -> nn.Module:
        """Return res5 of the slow path."""
        return self.slow.stages[-1]

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return every_frame(x, self.alpha)

    def blocks(self) -> list[Residual]:
        """Return the blocks of the slow path."""
        return [module for module in self.slow.modules() if isinstance(module, Residual)]


def slowfast(
    *,
    depth: int,
    alpha: int,
    lateral: int,
    classes: int = 400,
    frames: int = 32,
    crop: int = 224,
    lateral_norm: bool = True,
    zero_gamma: bool = True,
    dropout: float = 0.5,
) -> Network:
    """Build a SlowFast network; `lateral` is the temporal kernel of the connections. Frames are a multiple of `alpha`.

    Without `lateral_norm` the connections are convolutions alone, with no batch norm and no ReLU, as in MMAction2.
    Without `zero_gamma` the last norm of every block starts with scale 1, as the others do; PySlowFast's start with 0.
    """
    if frames % alpha:
        raise ConfigError(f"{frames} frames: the slow path takes every {alpha}th; give a multiple of it")
    depths = DEPTHS[depth]
    slow = Pathway(make_stem(64, 1), make_stages(depths, partial(_bottleneck, SLOW_KERNELS, 1, True)))
    fast_stages = make_stages(depths, partial(_bottleneck, FAST_KERNELS, BETA, False), 64 // BETA)
    fast = Pathway(make_stem(64 // BETA, 5), fast_stages)
    laterals = nn.ModuleList(_lateral(width // BETA, lateral, alpha, lateral_norm) for width in (64, 256, 512, 1024))
    return SlowFast(slow, fast, laterals, alpha, classes, Clip(frames, crop, 2), dropout, zero_gamma)


def slowonly(
    *,
    depth: int,
    stride: int,
    classes: int = 400,
    frames: int | None = None,
    crop: int = 224,
    zero_gamma: bool = True,
    dropout: float = 0.5,
) -> Network:
    """Build the slow path by itself, on frames `stride` apart, by default as many as span 64; `zero_gamma` as above."""
    basic = depth < 50
    make = _basic if basic else partial(_bottleneck, SLOW_KERNELS, 1, False)
    clip, width = Clip(frames or 64 // stride, crop, stride), 512 if basic else 2048
    return PooledResNet(make_stem(64, 1), make_stages(DEPTHS[depth], make), width, classes, clip, dropout, zero_gamma)


def make_stem(width: int, temporal_kernel: int) -> nn.Sequential:
    """t x 7 x 7 convolution and 1 x 3 x 3 max-pool, each with spatial stride 2."""
    conv = make_conv(3, width, temporal_kernel, 7, 2)
    return nn.Sequential(conv, nn.BatchNorm3d(width), nn.ReLU(inplace=True), FrameMaxPool(3, stride=2, padding=1))


def make_conv(width_in: int, width: int, temporal_kernel: int, kernel: int, stride: int = 1) -> nn.Module:
    """t x k x k convolution, same padding, spatial stride, no bias; of frames by themselves where t is 1."""
    t, k = temporal_kernel, kernel
    if k == stride == 1 < t:
        return TemporalConv(width_in, width, t)
    if t == 1:
        return FrameConv(width_in, width, k, stride=stride, padding=k // 2, bias=False)
    return nn.Conv3d(width_in, width, (t, k, k), (1, stride, stride), (t // 2, k // 2, k // 2), bias=False)


def _bottleneck(
    kernels: dict[int, int], beta: int, meets: bool, stage: int, index: int, width_in: int, inner: int, stride: int
) -> Residual:
    """Build a bottleneck; `meets`: the lateral's channels, 2 / BETA of the slow path's, join the stage's input."""
    inner = inner // beta
    if meets and index == 0:
        width_in += 2 * width_in // BETA
    first, second = make_conv(width_in, inner, kernels[stage], 1), make_conv(inner, inner, 1, 3, stride)
    last = make_conv(inner, 4 * inner, 1, 1)
    return Bottleneck(first, second, last, inner, 4 * inner, _shortcut(width_in, 4 * inner, stride))


def _basic(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    t = SLOW_KERNELS[stage]
    convs = make_conv(width_in, inner, t, 3, stride), make_conv(inner, inner, t, 3)
    return BasicBlock(*convs, inner, inner, _shortcut(width_in, inner, stride))


def _shortcut(width_in: int, width: int, stride: int) -> nn.Module | None:
    if stride == 1 and width_in == width:
        return None
    return nn.Sequential(make_conv(width_in, width, 1, 1, stride), nn.BatchNorm3d(width))


def _lateral(width: int, kernel: int, alpha: int, norm: bool) -> nn.Module:
    """Fast (B, C, alpha * T, H, W) -> (B, 2 C, T, H, W), to be joined to the slow path's channels."""
    conv = TemporalConv(width, 2 * width, kernel, alpha)
    return nn.Sequential(conv, *([nn.BatchNorm3d(2 * width), nn.ReLU(inplace=True)] if norm else []))


slowfast_r50_8x8 = partial(slowfast, depth=50, alpha=4, lateral=7)
slowfast_r50_4x16 = partial(slowfast, depth=50, alpha=8, lateral=5)
slowfast_r101_8x8 = partial(slowfast, depth=101, alpha=4, lateral=5)
slowonly_r34_8x8 = partial(slowonly, depth=34, stride=8)
slowonly_r50_8x8 = partial(slowonly, depth=50, stride=8)
slowonly_r50_4x16 = partial(slowonly, depth=50, stride=16)


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
    stages = make_stages(DEPTHS[depth], partial(_separated_bottleneck, interaction == "preserved"))
    clip = Clip(frames, crop, stride=2)
    net = PooledResNet(make_stem(64, 3), stages, 2048, classes, clip, dropout, zero_gamma)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = norm_eps
    net.rms_kernel = (1, 3, 3)  # the last maps have too few frames for more (RMS's supplement, B.1)
    return net


def _separated_bottleneck(preserved: bool, stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    width, steps = 4 * inner, (stride, stride, stride)
    shortcut = nn.Sequential(PointwiseConv3d(width_in, width, steps), nn.BatchNorm3d(width)) if index == 0 else None
    first, separated = PointwiseConv3d(width_in, inner), DepthwiseConv3d(inner, 3, steps)
    middle = nn.Sequential(PointwiseConv3d(inner, inner), nn.BatchNorm3d(inner), separated) if preserved else separated
    return Bottleneck(first, middle, PointwiseConv3d(inner, width), inner, width, shortcut)


csn_r50, csn_r101, csn_r152 = (partial(csn, depth=depth) for depth in (50, 101, 152))
