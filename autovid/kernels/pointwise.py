"""Pointwise (1x1x1) convolution that keeps `channels_last_3d` and is safe with few channels on CPUs.

Two things that torch's own does on CPUs are avoided here. With one thread and a batch below 16 it leaves oneDNN for a
kernel whose output is contiguous: every layer after it then loses the fast layout. And with a stride, its weight
gradient overruns oneDNN's workspace if fewer than 8 (AVX2) or 16 (AVX-512) channels come in, which corrupts memory:
github.com/uxlfoundation/oneDNN/issues/6035.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autovid.kernels.depthwise_gradients import Size3
from autovid.kernels.maps import every_pixel
from autovid.kernels.tracing import is_recorded


def pointwise_conv3d(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1)) -> Tensor:
    """Convolve 1x1x1 x (B, C, T, H, W) with weight (D, C, 1, 1, 1), no bias.

    Returns (B, D, ceil(T / st), ceil(H / sh), ceil(W / sw)).
    """
    if x.device.type != "cpu" or is_recorded():
        return F.conv3d(x, weight, stride=stride)
    x = every_pixel(x, stride).contiguous(memory_format=torch.channels_last_3d)
    if torch.get_num_threads() > 1:
        return F.conv3d(x, weight)
    # One product of two matrices: with more dimensions torch may choose another by what needs a gradient.
    pixels = x.permute(0, 2, 3, 4, 1)
    out = F.linear(pixels.reshape(-1, x.shape[1]), weight.flatten(1))
    return out.view(*pixels.shape[:4], weight.shape[0]).permute(0, 4, 1, 2, 3)
