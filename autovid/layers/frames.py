"""2-D layers over the frames of a clip: (B, C, T, H, W) in and out, each frame on its own.

In channels_last_3d the frames of a batch already lie in memory as one channels_last batch of images, so that folding
them is a view, and 2-D kernels, the faster ones on most machines, do the work.
"""

from typing import Any

import torch
from torch import Tensor, nn


def fold(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B * T, C, H, W); a view in channels_last_3d."""
    return x.transpose(1, 2).flatten(0, 1)


def unfold(x: Tensor, batch: int) -> Tensor:
    """(B * T, C, H, W) -> (B, C, T, H, W), the inverse of `fold`."""
    return x.view(batch, -1, *x.shape[1:]).transpose(1, 2)


class FrameConv(nn.Conv2d):
    """A 2-D convolution of every frame: (B, C, T, H, W) -> (B, D, T, H', W'); weight (D, C / groups, k, k).

    With a `frame_stride` of n it is of every n-th frame, from the first on.
    """

    def __init__(self, *args: Any, frame_stride: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.frame_stride = frame_stride

    def forward(self, x: Tensor) -> Tensor:
        if self.frame_stride > 1:
            x = x[:, :, :: self.frame_stride].contiguous(memory_format=torch.channels_last_3d)
        return unfold(super().forward(fold(x)), x.shape[0])


class FrameMaxPool(nn.MaxPool2d):
    """A 2-D max-pool of every frame."""

    def forward(self, x: Tensor) -> Tensor:
        return unfold(super().forward(fold(x)), x.shape[0])
