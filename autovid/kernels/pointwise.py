"""Pointwise (1x1x1) convolution that keeps `channels_last_3d`, is fast on one thread and safe with few channels.

Three things that torch's own does on CPUs are avoided here. With one thread and a batch below 16 it leaves oneDNN for a
kernel whose output is contiguous: every layer after it then loses the fast layout. A matrix product in its place is
slow where few channels meet many pixels, as MKL has it: by 1.5 to 4 times. And with a stride, its weight gradient
overruns oneDNN's workspace if fewer than 8 (AVX2) or 16 (AVX-512) channels come in, which corrupts memory:
github.com/uxlfoundation/oneDNN/issues/6035.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autovid.kernels.depthwise_gradients import Size3
from autovid.kernels.maps import every_pixel
from autovid.kernels.tracing import is_recorded

IMAGES = 16  # the smallest batch that torch gives to oneDNN on one thread
PIXELS = 5000  # pixels of a map from which on oneDNN is as fast as a matrix product, or faster


def pointwise_conv3d(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    """Convolve 1x1x1 x (B, C, T, H, W) with weight (D, C, 1, 1, 1), and add a bias (D,) if there is one.

    Returns (B, D, ceil(T / st), ceil(H / sh), ceil(W / sw)).
    """
    if x.device.type != "cpu" or is_recorded():
        return F.conv3d(x, weight, bias, stride)
    x = every_pixel(x, stride).contiguous(memory_format=torch.channels_last_3d)
    if torch.get_num_threads() > 1:
        return F.conv3d(x, weight, bias)
    pixels = x.permute(0, 2, 3, 4, 1)
    if _is_for_images(x):
        rows = pixels.flatten(0, 2) if x.shape[0] * x.shape[2] < IMAGES else pixels.flatten(0, 1).flatten(1, 2)
        out = F.conv2d(rows.unsqueeze(1).permute(0, 3, 1, 2), weight[..., 0], bias).permute(0, 2, 3, 1)
    else:
        # One product of two matrices: with more dimensions torch may choose another by what needs a gradient.
        out = F.linear(pixels.reshape(-1, x.shape[1]), weight.flatten(1), bias)
    return out.reshape(*pixels.shape[:4], weight.shape[0]).permute(0, 4, 1, 2, 3)


def _is_for_images(x: Tensor) -> bool:
    """Return True if a convolution of images, frames or rows of pixels, is the fastest: large, in fp32, by oneDNN."""
    return (
        x.numel() >= PIXELS * x.shape[1]
        and x.shape[0] * x.shape[2] * x.shape[3] >= IMAGES
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
