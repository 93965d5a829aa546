"""A t x k x k convolution in two: over space, then over time. Clips (B, C, T, H, W).

Xie et al., "Rethinking spatiotemporal feature learning" (2018), S3D; Tran et al., "A closer look at spatiotemporal
convolutions" (2018), R(2+1)D; of one width throughout, as in seed-deep-analysis, section 5.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from autovid.layers.frames import FrameConv
from autovid.layers.temporal_conv import TemporalConv


class FactorizedConv(nn.Module):
    """1 x 3 x 3 convolution, batch norm, ReLU, 3 x 1 x 1 convolution; `stride` is of space, `frame_stride` of time.

    `bias` is of the second convolution, `eps` of the norm.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        stride: int = 1,
        frame_stride: int = 1,
        bias: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.spatial = FrameConv(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(width, eps=eps)
        self.temporal = TemporalConv(width, width, 3, frame_stride, bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.temporal(F.relu(self.norm(self.spatial(x))))
        return out
