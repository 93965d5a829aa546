"""A network of autovid as one writes it in torch: contiguous maps, conv3d and batch_norm for all there is.

The same modules with the same weights; every convolution of frames, over time or of single channels is one call of
`F.conv3d`, every pooling one of `F.max_pool3d`.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels import batch_norm, depthwise, maps
from autovid.layers import convolutions, temporal_modules

Net = TypeVar("Net", bound=nn.Module)
Size3 = tuple[int, int, int]


def conv_depthwise(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, bias, stride, padding, groups=x.shape[1])


def conv_pointwise(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    return F.conv3d(x, weight, bias, stride)


def conv_frames(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    padding = weight.shape[3] // 2
    return F.conv3d(x, weight, None, (1, stride, stride), (0, padding, padding))


def every(x: Tensor, stride: Size3) -> Tensor:
    return x[:, :, :: stride[0], :: stride[1], :: stride[2]]


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3, 4))


def as_it_is(weight: Tensor) -> Tensor:
    return weight.contiguous()


def adaptive(x: Tensor, kernels: Tensor, gates: Tensor) -> Tensor:
    return temporal_modules._convolve(x * gates[..., None, None], kernels.to(x.dtype))


def frame_conv(self: convolutions.FrameConv, x: Tensor) -> Tensor:
    (height, width), (rows, columns), (top, left) = self.stride, self.dilation, self.padding
    weight = self.weight.unsqueeze(2)
    step = (self.frame_stride, height, width)
    return F.conv3d(x, weight, self.bias, step, (0, top, left), (1, rows, columns), self.groups)


def frame_pool(self: convolutions.FrameMaxPool, x: Tensor) -> Tensor:
    size, step, padding = (both(value) for value in (self.kernel_size, self.stride, self.padding))
    return F.max_pool3d(x, (1, *size), (1, *step), (0, *padding), ceil_mode=self.ceil_mode)


def temporal_conv(self: convolutions.TemporalConv, x: Tensor) -> Tensor:
    return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)


def both(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


FUNCTIONS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    depthwise.depthwise_conv3d: conv_depthwise,
    maps.pointwise_conv3d: conv_pointwise,
    convolutions.frame_conv3d: conv_frames,
    maps.every_pixel: every,
    maps.mean_of_pixels: mean,
    convolutions.channels_last: as_it_is,
    temporal_modules.weigh_frames: conv_depthwise,
    temporal_modules.aggregate: adaptive,
}
FORWARDS: dict[type[nn.Module], Callable[..., Tensor]] = {
    convolutions.FrameConv: frame_conv,
    convolutions.FrameMaxPool: frame_pool,
    convolutions.TemporalConv: temporal_conv,
}


@cache
def places() -> list[tuple[Any, str, Any, Any]]:
    """Return (owner, name, autovid's, torch's) of all that is replaced, in the modules that are loaded."""
    replaced: list[tuple[Any, str, Any, Any]] = [(kind, "forward", kind.forward, own) for kind, own in FORWARDS.items()]
    replaced.append((batch_norm, "batch_norm", batch_norm.batch_norm, F.batch_norm))
    for name, module in list(sys.modules.items()):
        if name.startswith(("autovid.layers", "autovid.blocks", "autovid.models")):
            for ours, own in FUNCTIONS.items():
                if vars(module).get(ours.__name__) is ours:
                    replaced.append((module, ours.__name__, ours, own))
    return replaced


@contextlib.contextmanager
def torch_alone() -> Iterator[None]:
    """Inside, networks that are built already compute with torch's own layers. It takes microseconds."""
    for owner, name, _, own in places():
        setattr(owner, name, own)
    try:
        yield
    finally:
        for owner, name, ours, _ in places():
            setattr(owner, name, ours)


def contiguous(net: Net) -> Net:
    """Return a copy whose weights are contiguous."""
    net = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return net
