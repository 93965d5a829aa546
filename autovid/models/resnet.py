"""Residual networks for clips: a stem, four stages of residual blocks, and a classifier of every time step.

He et al., "Deep residual learning" (2016), as the video networks of the seed papers use it (systems.md, section 6): the
map is averaged over space, every time step is classified, and the logits are averaged over time.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from autovid.clip import Clip
from autovid.layers.convolutions import FrameConv, FrameMaxPool
from autovid.layers.residual import Bottleneck, Residual
from autovid.models.network import Network, he_init

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INNER = (64, 128, 256, 512)  # channels inside the blocks of res2 ... res5

MakeBlock = Callable[[int, int, int, int, int], Residual]
"""(stage 2..5, index in it, channels in, channels inside, spatial stride) -> block"""


def make_stages(
    depths: Sequence[int], make: MakeBlock, width_in: int = 64, widths: Sequence[int] = INNER
) -> nn.ModuleList:
    """res2 ... res5, each a Sequential of residual blocks; the first block of all stages but res2 has stride 2.

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
    """The 2-D stem of every frame: (B, 3, T, H, W) -> (B, 64, T, H / 4, W / 4)."""
    return nn.Sequential(
        FrameConv(3, 64, 7, stride=2, padding=3, bias=bias),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
        FrameMaxPool(3, stride=2, padding=1),
    )


def frame_bottleneck(width_in: int, inner: int, stride: int, bias: bool = False) -> Bottleneck:
    """A 2-D bottleneck of every frame, the stride in the 3x3 convolution; `bias` gives its convolutions biases."""
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


class ResNet(Network):
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
        super().__init__()
        self.clip, self.classes = clip, classes
        self.stem, self.stages = stem, stages
        self.pools = nn.ModuleList(pool or nn.Identity() for pool in pools)
        he_init(self)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))

    def cam_layer(self) -> nn.Module:
        return self.stages[-1]

    def features(self, x: Tensor) -> Tensor:
        """The map of res5: (B, C, T', H / 32, W / 32)."""
        x = self.stem(x)
        for stage, pool in zip(self.stages, [*self.pools, nn.Identity()]):
            x = pool(stage(x))
        return x

    def classify(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, classes): the mean of the time steps' logits."""
        steps_BTC = x.mean((3, 4)).transpose(1, 2)
        logits: Tensor = self.classifier(self.dropout(steps_BTC)).mean(1)
        return logits
