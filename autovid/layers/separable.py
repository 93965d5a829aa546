"""The two halves of a channel-separated convolution as layers, on the kernels that train fast on CPUs."""

import torch
from torch import Tensor, nn

from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.depthwise_gradients import Size3
from autovid.kernels.pointwise import pointwise_conv3d
from autovid.layers.tensors import channels_last, he_normal


class DepthwiseConv3d(nn.Module):
    """k x k x k convolution of each channel alone, same padding, no bias: (B, C, T, H, W) -> (B, C, T', H', W')."""

    def __init__(self, width: int, kernel: int, stride: Size3 = (1, 1, 1)) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(he_normal(torch.empty(width, 1, kernel, kernel, kernel)))

    def forward(self, x: Tensor) -> Tensor:
        return depthwise_conv3d(x, channels_last(self.weight), self.stride)


class PointwiseConv3d(nn.Module):
    """1x1x1 convolution without bias: (B, C, T, H, W) -> (B, D, T', H', W')."""

    def __init__(self, width_in: int, width: int, stride: Size3 = (1, 1, 1)) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in, 1, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return pointwise_conv3d(x, channels_last(self.weight), self.stride)
