"""Residual blocks with named places, so that temporal modules and regularisers combine with every residual network.

    enter -> conv1 -> norm1 -> relu -> conv2 -> norm2 -> relu -> conv3 -> norm3 -> leave -> + shortcut -> relu -> after

`enter` is the place of a shift or an aggregation over time, `leave` that of a regulariser of the branch, `after` that
of attention over the block's output; all are the identity by default. The convolutions come from the caller. Clips (B,
C, T, H, W).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Base of residual blocks. `stage` is 2 to 5 in the papers' naming (res2 ... res5), `index` counts in it.

    A subclass defines its `branch` between `enter` and `leave`; `shortcut` is None where the input can
    be added as it is.
    """

    enter: nn.Module
    leave: nn.Module
    after: nn.Module
    stage: int
    index: int
    width: int  # channels of the output

    def __init__(self, width: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.enter, self.leave, self.after = nn.Identity(), nn.Identity(), nn.Identity()
        self.stage = self.index = 0
        self.width = width
        self.shortcut = shortcut

    def branch(self, x: Tensor) -> Tensor:
        """Compute the branch without `enter` and `leave`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = self.leave(self.branch(self.enter(x)))
        out: Tensor = self.after(F.relu(y + (x if self.shortcut is None else self.shortcut(x))))
        return out


class BasicBlock(Residual):
    """A block of two convolutions."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, inner: int, width: int, shortcut: nn.Module | None) -> None:
        super().__init__(width, shortcut)
        self.conv1, self.norm1 = conv1, nn.BatchNorm3d(inner)
        self.conv2, self.norm2 = conv2, nn.BatchNorm3d(width)

    def branch(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.norm2(self.conv2(y))
        return out


class Bottleneck(Residual):
    """A block of three convolutions, the middle one `inner` wide."""

    def __init__(
        self, conv1: nn.Module, conv2: nn.Module, conv3: nn.Module, inner: int, width: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__(width, shortcut)
        self.conv1, self.norm1 = conv1, nn.BatchNorm3d(inner)
        self.conv2, self.norm2 = conv2, nn.BatchNorm3d(inner)
        self.conv3, self.norm3 = conv3, nn.BatchNorm3d(width)

    def branch(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        out: Tensor = self.norm3(self.conv3(y))
        return out
