"""The networks of "Deep Analysis": seven strategies in time, over ResNet and InceptionV1.

Chen et al., "Deep analysis of CNN-based spatio-temporal representations for action recognition", 2021, arXiv
2010.11757:
tsn   every frame by itself
i3d   3-D convolutions in place of the 2-D ones of 3 x 3 and more
s3d   those 3-D convolutions factorised, over space and then over time; the stem is not
tam   temporal aggregation, three weights per channel, at the start of a residual branch, after an inception module
conv  the same with dense matrices in place of the weights
tsm   a shift of channels by a frame at the start of a residual branch
nln   non-local blocks after every other block of 28 x 28 and of 14 x 14 positions, none of the keys left out

Where the paper says nothing the choices are ours: in InceptionV1 the shift goes before the two 3 x 3 branches of every
module, so that the other two keep the frame; non-local blocks beyond ResNet-50 are placed by the same rule.

InceptionV1: Szegedy et al., "Going deeper with convolutions", 2015, arXiv 1409.4842, as torchvision's GoogLeNet, whose
weights these networks start from: batch norm after every convolution, and 3 x 3 where the paper's branch is 5 x 5.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import BasicBlock, Bottleneck, FactorizedConv, FrameConv, FrameMaxPool, Residual
from autovid.layers.temporal_modules import DenseAggregation, NonLocalBlock, TemporalAggregation, TemporalShift
from autovid.models.network import Network, StepNetwork, he_init
from autovid.models.registry import STRATEGIES
from autovid.models.resnet import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, ResNet, frame_stem, make_stages

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


SPATIOTEMPORAL = ("i3d", "s3d")  # whose convolutions span frames
AGGREGATIONS: dict[str, Callable[[int], nn.Module]] = {"tam": TemporalAggregation, "conv": DenseAggregation}

MakeConv = Callable[[int, int, int, int], nn.Module]
"""(channels in, channels, stride, frame stride) -> 3 x 3 convolution without bias"""


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
    """Build a ResNet over clips. Temporal pooling halves the frames before res3, res4 and res5.

    That is a max-pool for 2-D convolutions, and a stride of the first block for those that span frames.
    """
    clip = Clip(frames, crop, sampling="uniform", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    spans = strategy in SPATIOTEMPORAL
    frame_stride = 2 if temporal_pooling and spans else 1
    make = partial(_bottleneck if depth >= 50 else _basic, CONVS[strategy] if spans else _frame_conv, frame_stride)
    pools = [frame_pool() if temporal_pooling and not spans else None for _ in range(3)]
    width = 2048 if depth >= 50 else 512
    net = ResNet(_stem(spans), make_stages(DEPTHS[depth], make), pools, width, classes, clip, dropout)
    width_in = 64
    for block in net.blocks():
        if strategy == "tsm":
            block.enter = TemporalShift()
        elif strategy in AGGREGATIONS:
            block.enter = AGGREGATIONS[strategy](width_in)
        width_in = block.width
    if strategy == "nln":
        add_non_local(net, subsample=False)
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
    """Build TSM-ResNet-50, with its authors' five non-local blocks (keys and values sub-sampled) if asked for."""
    sizes = {"classes": classes, "frames": frames, "crop": crop}
    net = resnet(strategy="tsm", depth=50, **sizes, temporal_pooling=temporal_pooling, dropout=dropout)
    if non_local:
        add_non_local(net, subsample=True)
    return net


def add_non_local(net: Network, subsample: bool) -> None:
    """Put a non-local block after every other block of res3 and res4: five in a ResNet-50."""
    for block in net.blocks():
        if block.stage in (3, 4) and block.index % 2 == 0:
            block.after = NonLocalBlock(block.width, subsample)


def inception_v1(
    *,
    strategy: str,
    classes: int = 400,
    frames: int = 8,
    crop: int = 224,
    temporal_pooling: bool = False,
    last_pool: Literal["paper", "code"] = "paper",
    dropout: float = 0.5,
) -> Network:
    """Build an InceptionV1 over clips, pixels in -1 ... 1. Temporal pooling halves the frames in the last three pools.

    `last_pool` is of i3d without temporal pooling: the one with which the paper's FLOPs come out leaves 7 of 8 frames;
    that of the authors' code, which their checkpoints want, all of them.
    Raises ConfigError for fewer frames than the last pool of i3d or s3d has to see.
    """
    if last_pool == "code" and strategy != "i3d":
        raise ConfigError(f"last_pool=code is for i3d_inception_v1; the last pool of {strategy}_inception_v1 is theirs")
    fewest = {("i3d", False): 2, ("s3d", False): 2, ("s3d", True): 5}.get((strategy, temporal_pooling), 1)
    if frames < fewest:
        pooled = " with temporal pooling" if temporal_pooling else ""
        raise ConfigError(f"{strategy}_inception_v1{pooled} needs frames={fewest} or more, not {frames}")
    clip = Clip(frames, crop, sampling="uniform", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    makers: dict[str, Callable[[bool], Parts]] = {"i3d": partial(_i3d_parts, last_pool), "s3d": _s3d_parts}
    net = InceptionV1(makers.get(strategy, _frame_parts)(temporal_pooling), classes, clip, dropout)
    for name, width in net.widths.items():
        layer = net.layers[name]
        if strategy in AGGREGATIONS:
            net.after[name] = AGGREGATIONS[strategy](width)
        elif strategy == "nln" and name.removeprefix("inception") in ("3a", "4a", "4c", "4e"):
            net.after[name] = NonLocalBlock(width, subsample=False)
        elif strategy == "tsm" and isinstance(layer, Inception):
            layer.enter = TemporalShift()
    return net


def frame_pool() -> nn.Module:
    """Return a max-pool of three frames with stride two."""
    return nn.MaxPool3d((3, 1, 1), (2, 1, 1), (1, 0, 0))


def _frame_conv(width_in: int, width: int, stride: int = 1, frame_stride: int = 1) -> nn.Module:
    return FrameConv(width_in, width, 3, stride=stride, padding=1, bias=False, frame_stride=frame_stride)


def _clip_conv(width_in: int, width: int, stride: int = 1, frame_stride: int = 1) -> nn.Module:
    return nn.Conv3d(width_in, width, 3, (frame_stride, stride, stride), 1, bias=False)


CONVS: dict[str, MakeConv] = {"i3d": _clip_conv, "s3d": FactorizedConv}


def _stem(spans: bool) -> nn.Module:
    if not spans:
        return frame_stem()
    norm, pool = nn.BatchNorm3d(64), FrameMaxPool(3, stride=2, padding=1)
    return nn.Sequential(_stem_conv(3), norm, nn.ReLU(inplace=True), pool)


def _stem_conv(kernel: int) -> nn.Module:
    """kernel x 7 x 7 convolution, 3 -> 64 channels, spatial stride 2."""
    return nn.Conv3d(3, 64, (kernel, 7, 7), (1, 2, 2), (kernel // 2, 3, 3), bias=False)


def _basic(
    conv: MakeConv, frame_stride: int, stage: int, index: int, width_in: int, inner: int, stride: int
) -> Residual:
    steps = stride, frame_stride if stride > 1 else 1
    first, second = conv(width_in, inner, *steps), conv(inner, inner, 1, 1)
    return BasicBlock(first, second, inner, inner, _shortcut(width_in, inner, *steps))


def _bottleneck(
    conv: MakeConv, frame_stride: int, stage: int, index: int, width_in: int, inner: int, stride: int
) -> Residual:
    steps = stride, frame_stride if stride > 1 else 1
    convs = _pointwise(width_in, inner), conv(inner, inner, *steps), _pointwise(inner, 4 * inner)
    return Bottleneck(*convs, inner, 4 * inner, _shortcut(width_in, 4 * inner, *steps))


def _shortcut(width_in: int, width: int, stride: int, frame_stride: int) -> nn.Module | None:
    if stride == 1 and width_in == width:
        return None
    conv = FrameConv(width_in, width, 1, stride=stride, bias=False, frame_stride=frame_stride)
    return nn.Sequential(conv, nn.BatchNorm3d(width))


def _pointwise(width_in: int, width: int) -> nn.Module:
    return FrameConv(width_in, width, 1, bias=False)


def _frame_parts(temporal_pooling: bool) -> Parts:
    def pool(kernel: int) -> nn.Module:
        frames = FrameMaxPool(kernel, stride=2, ceil_mode=True)
        return nn.Sequential(frames, frame_pool()) if temporal_pooling else frames

    stem = FrameConv(3, 64, 7, stride=2, padding=3, bias=False)
    pools = FrameMaxPool(3, stride=2, ceil_mode=True), pool(3), pool(3), pool(2)
    return Parts(stem, _frame_conv, _pointwise, lambda: FrameMaxPool(3, stride=1, padding=1), pools)


def _i3d_parts(last_pool: str, temporal_pooling: bool) -> Parts:
    # without temporal pooling the last pool has no padding, and 8 frames become 7: this gives the paper's FLOPs
    kernel, padding = (3, 1) if temporal_pooling or last_pool == "code" else (2, 0)
    last = nn.MaxPool3d(kernel, (2 if temporal_pooling else 1, 2, 2), padding)
    return Parts(_stem_conv(7), _clip_conv, _pointwise, _clip_pool, (*_first_pools(temporal_pooling), last))


def _s3d_parts(temporal_pooling: bool) -> Parts:
    last = nn.MaxPool3d(2, (2 if temporal_pooling else 1, 2, 2))
    conv = partial(FactorizedConv, bias=True, eps=EPS)
    return Parts(_stem_conv(3), conv, _pointwise, _clip_pool, (*_first_pools(temporal_pooling), last))


def _first_pools(temporal_pooling: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
    second, third = (nn.MaxPool3d(3, (2 if temporal_pooling else 1, 2, 2), 1) for _ in range(2))
    return FrameMaxPool(3, stride=2, padding=1), second, third


def _clip_pool() -> nn.Module:
    return nn.MaxPool3d(3, 1, 1)


def __getattr__(name: str) -> Callable[..., Network]:
    """Return the maker of a network by its name, STRATEGY_BACKBONE."""
    strategy, _, backbone = name.partition("_")
    if strategy in STRATEGIES and backbone == "inception_v1":
        return partial(inception_v1, strategy=strategy)
    if strategy in STRATEGIES and backbone in ("resnet18", "resnet50"):
        return partial(resnet, strategy=strategy, depth=int(backbone.removeprefix("resnet")))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
