"""Residual networks for clips: a stem, four stages of residual blocks, and a classifier of every time step.

He et al., "Deep residual learning for image recognition", 2016, arXiv 1512.03385, as video networks use it: the last
map is averaged over space, every time step is classified, and the logits are averaged over time.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from autovid.clip import Clip
from autovid.layers.convolutions import BasicBlock, Bottleneck, FrameConv, FrameMaxPool, Residual
from autovid.models.network import StepNetwork, he_init, make_classifier

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INNER = (64, 128, 256, 512)  # channels inside the blocks of res2 ... res5

MakeBlock = Callable[[int, int, int, int, int], Residual]
"""(stage 2..5, index in it, channels in, channels inside, spatial stride) -> block"""


class ResNet(StepNetwork):
    """Clip (B, 3, T, H, W) -> logits (B, classes). `pools` go between the stages, after res2, res3 and res4."""

    def __init__(
        self,
        stem: nn.Module,
        stages: nn.ModuleList,
        pools: Sequence[nn.Module | None],
        width: int,
        classes: int,
        clip: Clip,
        dropout: float,
    ) -> None:
        super().__init__(classes, clip)
        self.stem, self.stages = stem, stages
        self.pools = nn.ModuleList(pool or nn.Identity() for pool in pools)
        he_init(self)
        self.dropout = nn.Dropout(dropout)
        self.classifier = make_classifier(width, classes)

    def cam_layer(self) -> nn.Module:
        return self.stages[-1]

    def features(self, x: Tensor) -> Tensor:
        """Return the map of res5: (B, C, T', H / 32, W / 32)."""
        x = self.stem(x)
        for stage, pool in zip(self.stages, [*self.pools, nn.Identity()]):
            x = pool(stage(x))
        return x


class PooledResNet(ResNet):
    """A ResNet that averages its last map over time and space, and classifies once, as PySlowFast's 3-D networks.

    With `zero_gamma` its blocks start as the identity.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: nn.ModuleList,
        width: int,
        classes: int,
        clip: Clip,
        dropout: float,
        zero_gamma: bool,
    ) -> None:
        super().__init__(stem, stages, [None] * (len(stages) - 1), width, classes, clip, dropout)
        if zero_gamma:
            zero_last_norms(self)

    def classify(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, classes)."""
        logits: Tensor = self.classifier(self.dropout(x.mean((2, 3, 4))))
        return logits


def make_stages(
    depths: Sequence[int], make: MakeBlock, width_in: int = 64, widths: Sequence[int] = INNER
) -> nn.ModuleList:
    """Return res2 ... res5, each a Sequential of residual blocks; the first block of all stages but res2 has stride 2.

    `widths` are the channels inside the blocks.
    """
    stages = nn.ModuleList()
    for number, (depth, inner) in enumerate(zip(depths, widths)):
        blocks: list[Residual] = []
        for index in range(depth):
            stride = 2 if index == 0 and number > 0 else 1
            block = make(number + 2, index, width_in, inner, stride)
            block.stage, block.index = number + 2, index
            width_in = block.width
            blocks.append(block)
        stages.append(nn.Sequential(*blocks))
    return stages


def frame_stem(bias: bool = False) -> nn.Sequential:
    """Return the 2-D stem of every frame: (B, 3, T, H, W) -> (B, 64, T, H / 4, W / 4)."""
    return nn.Sequential(
        FrameConv(3, 64, 7, stride=2, padding=3, bias=bias),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
        FrameMaxPool(3, stride=2, padding=1),
    )


def frame_bottleneck(width_in: int, inner: int, stride: int, bias: bool = False) -> Bottleneck:
    """Make a 2-D bottleneck of every frame, the stride in the 3x3 convolution; `bias` gives its convolutions biases."""
    shortcut = None
    if stride != 1 or width_in != 4 * inner:
        projection = FrameConv(width_in, 4 * inner, 1, stride=stride, bias=bias)
        shortcut = nn.Sequential(projection, nn.BatchNorm3d(4 * inner))
    return Bottleneck(
        FrameConv(width_in, inner, 1, bias=bias),
        FrameConv(inner, inner, 3, stride=stride, padding=1, bias=bias),
        FrameConv(inner, 4 * inner, 1, bias=bias),
        inner,
        4 * inner,
        shortcut,
    )


def zero_last_norms(net: nn.Module) -> None:
    """Set the scale of the last norm of every residual block to zero, so that a new block is the identity."""
    for module in net.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_((module.norm3 if isinstance(module, Bottleneck) else module.norm2).weight)
