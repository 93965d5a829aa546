"""The two temporal difference modules of TDN, and its learnable shift.

Wang et al., "TDN: Temporal difference networks for efficient action recognition", 2021, arXiv 2012.10071, with the
sizes of the authors' code. Clips (B, C, T, H, W); one step of T is one segment.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.tracing import is_traced
from autovid.layers.convolutions import FrameConv, channels_last, fold, unfold
from autovid.layers.temporal_aggregation import weigh_frames

SNIPPET = 5  # frames of a segment


def middle_frames(x: Tensor) -> Tensor:
    """Return the middle frame of every segment: (B, 3, SNIPPET * T, H, W) -> (B, 3, T, H, W)."""
    return x[:, :, SNIPPET // 2 :: SNIPPET]


def differences(x: Tensor) -> Tensor:
    """Return the differences of consecutive frames in every segment, at half the size.

    (B, 3, SNIPPET * T, H, W) -> (B, 3 * (SNIPPET - 1), T, H / 2, W / 2), the channels of the first difference first.
    """
    small = F.avg_pool2d(fold(x), 2)
    small_BTFCHW = small.view(x.shape[0], -1, SNIPPET, *small.shape[1:])
    changes_BTFCHW = small_BTFCHW[:, :, 1:] - small_BTFCHW[:, :, :-1]
    return changes_BTFCHW.permute(0, 1, 4, 5, 2, 3).flatten(4).permute(0, 4, 1, 2, 3)


class LongTermDifference(nn.Module):
    """Gates of channels by the differences of neighbouring segments, at two scales, both ways. Shape unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 16
        self.squeeze = nn.Sequential(FrameConv(width, inner, 1, bias=False), nn.BatchNorm3d(inner))
        self.smooth = FrameConv(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.coarse = nn.Sequential(FrameConv(inner, inner, 3, padding=1, bias=False), nn.BatchNorm3d(inner))
        self.fine = nn.Sequential(FrameConv(inner, inner, 3, padding=1, bias=False), nn.BatchNorm3d(inner))
        self.excite = nn.Sequential(FrameConv(inner, width, 1, bias=False), nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        frames = self.squeeze(x)
        smooth = self.smooth(frames)
        forwards = F.pad(smooth[:, :, 1:] - frames[:, :, :-1], (0, 0, 0, 0, 0, 1))
        backwards = F.pad(smooth[:, :, :-1] - frames[:, :, 1:], (0, 0, 0, 0, 1, 0))
        gate = 0.5 * self._gate(forwards) + 0.5 * self._gate(backwards)
        return x + x * gate

    def _gate(self, change: Tensor) -> Tensor:
        """(B, C / 16, T, H, W) -> (B, C, T, H, W) in -0.5..0.5."""
        images = fold(change)
        half = F.avg_pool2d(images, min(2, *images.shape[2:]))
        coarse = fold(self.coarse(unfold(half, change.shape[0])))
        coarse = unfold(F.interpolate(coarse, images.shape[2:]), change.shape[0])
        out: Tensor = self.excite((change + coarse + self.fine(change)) / 3)
        return torch.sigmoid(out) - 0.5


class LearnableShift(nn.Module):
    """A depthwise temporal convolution that starts as TSM's shift of an eighth of the channels each way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        fold_width = width // 8
        weight = torch.zeros(width, 1, 3, 1, 1)
        weight[:fold_width, :, 2] = 1  # from the next segment
        weight[fold_width : 2 * fold_width, :, 0] = 1  # from the one before
        weight[2 * fold_width :, :, 1] = 1
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and not is_traced():
            return weigh_frames(x, self.weight)
        return depthwise_conv3d(x, channels_last(self.weight))
