"""Non-local block, embedded Gaussian, as it was published: every position of the clip attends to every other.

Wang et al., "Non-local neural networks", 2018, arXiv 1711.07971. Unlike the block of the `two_stream` space
(`attention.NonLocal`), its cost grows with the square of the area, nothing bounds its keys, and the scores are not
scaled. Clips (B, C, T, H, W).
"""

import torch
from torch import Tensor, nn

from autovid.layers.convolutions import FrameConv, FrameMaxPool


class NonLocalBlock(nn.Module):
    """x + norm(extend(softmax(query key) value)), C / 2 wide inside; the norm starts at zero.

    `subsample` max-pools keys and values 2 x 2 in space.
    """

    def __init__(self, width: int, subsample: bool) -> None:
        super().__init__()
        inner = width // 2
        self.query = FrameConv(width, inner, 1)
        self.key = FrameConv(width, inner, 1)
        self.value = FrameConv(width, inner, 1)
        self.extend = FrameConv(inner, width, 1)
        self.norm = nn.BatchNorm3d(width)
        self.pool = FrameMaxPool(2) if subsample else nn.Identity()
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        query_BLC = self.query(x).flatten(2).transpose(1, 2)
        key_BCK = self.pool(self.key(x)).flatten(2)
        value_BKC = self.pool(self.value(x)).flatten(2).transpose(1, 2)
        weights_BLK = torch.softmax(query_BLC @ key_BCK, dim=-1)
        y = (weights_BLK @ value_BKC).transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = x + self.norm(self.extend(y))
        return out
