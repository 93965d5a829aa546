"""Residual blocks with named places, so that temporal modules and regularisers combine with every residual network.

    enter -> conv1 -> norm1 -> relu -> conv2 -> norm2 -> relu -> conv3 -> norm3 -> leave -> + shortcut -> relu

`enter` is where a shift or an aggregation over time goes, `leave` where a regulariser of the branch goes; both are the
identity unless something is put there. The convolutions are made by whoever makes the block. Clips (B, C, T, H, W).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """What every residual block has. `stage` is 2 to 5 in the papers' naming (res2 ... res5), `index` counts in it."""

    enter: nn.Module
    leave: nn.Module
    stage: int
    index: int
    width: int  # channels of the output

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Identity(), nn.Identity()
        self.stage = self.index = 0
        self.width = width


class BasicBlock(Residual):
    """Two convolutions; `shortcut` is None where the input can be added as it is."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, inner: int, width: int, shortcut: nn.Module | None) -> None:
        super().__init__(width)
        self.conv1, self.norm1 = conv1, nn.BatchNorm3d(inner)
        self.conv2, self.norm2 = conv2, nn.BatchNorm3d(width)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(self.enter(x))))
        y = self.leave(self.norm2(self.conv2(y)))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(Residual):
    """Three convolutions, the middle one `inner` wide; `shortcut` is None where the input can be added as it is."""

    def __init__(
        self,
        conv1: nn.Module,
        conv2: nn.Module,
        conv3: nn.Module,
        inner: int,
        width: int,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__(width)
        self.conv1, self.norm1 = conv1, nn.BatchNorm3d(inner)
        self.conv2, self.norm2 = conv2, nn.BatchNorm3d(inner)
        self.conv3, self.norm3 = conv3, nn.BatchNorm3d(width)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(self.enter(x))))
        y = F.relu(self.norm2(self.conv2(y)))
        y = self.leave(self.norm3(self.conv3(y)))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))
