"""Layers that serve every candidate of a decision with one tensor of weights.

Each is as large as its largest candidate and uses the leading channels (and the middle of a kernel) for a smaller one.
In a frozen network the largest is the only one. Supernet and frozen network run the same operations on the same numbers
in the same memory layout (`part`), so that their results have the same bits, on every processor: no library has
anything to tell them by. How many channels come in is read off the input; how many go out is the caller's to say.

Sharing by slices is ours: the paper does not say how its supernet shares weights.

Shapes: B batch, C channels, T frames, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.site import Size
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.pointwise import pointwise_conv3d
from autovid.layers.sync_batch import batch_norm
from autovid.layers.tensors import channels_last, he_normal


class Pointwise(nn.Module):
    """1x1x1 convolution without bias: (B, C, T, H, W) -> (B, out, T, H, W), with spatial stride."""

    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = (1, stride, stride)
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in, 1, 1, 1)))

    def forward(self, x: Tensor, width: int) -> Tensor:
        return pointwise_conv3d(x, part(self.weight, width, x.shape[1]), self.stride)

    @staticmethod
    def macs(width_in: int, width: int, size: Size) -> int:
        return width_in * width * size.positions


class Depthwise(nn.Module):
    """Depthwise t x k x k convolution without bias, same padding, spatial stride; smaller kernels are the middle."""

    centred = True

    def __init__(self, width: int, temporal_kernel: int, spatial_kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = (1, stride, stride)
        kernel = (temporal_kernel, spatial_kernel, spatial_kernel)
        self.weight = nn.Parameter(he_normal(torch.empty(width, 1, *kernel)))

    def forward(self, x: Tensor, temporal_kernel: int, spatial_kernel: int) -> Tensor:
        weight = part(self.weight, x.shape[1], 1, temporal_kernel, spatial_kernel, spatial_kernel)
        return depthwise_conv3d(x, weight, self.stride)

    @staticmethod
    def macs(width: int, temporal_kernel: int, spatial_kernel: int, size_out: Size) -> int:
        return width * temporal_kernel * spatial_kernel**2 * size_out.positions


class Norm(nn.Module):
    """Batch normalisation of however many channels come in.

    While `scoring`, it normalises with the statistics of the batch and leaves the running ones alone: the running ones
    are an average over architectures and fit none of them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, zero: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum, self.scoring = eps, momentum, False
        self.weight = nn.Parameter(torch.zeros(width) if zero else torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        weight, bias = part(self.weight, c), part(self.bias, c)
        if self.scoring:
            return batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        mean, var = part(self.running_mean, c), part(self.running_var, c)
        return batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)


def part(whole: Tensor, *sizes: int) -> Tensor:
    """The part of a shared tensor that has these sizes, laid out in memory as the tensor of a frozen network is.

    It is the leading part of the first two dimensions, and the middle of a kernel's. Libraries choose how to sum by
    strides and alignment, and so round one way or another. So what is not contiguous, or does not begin where the whole
    begins, is copied. What is not copied begins the memory of the whole, aligned as all that torch allocates: leading
    rows, or the leading part of a vector, which is a view (running statistics are written to). Five dimensions are laid
    out as `channels_last` does.
    """
    sliced, begins = whole, True
    for dim, size in enumerate(sizes):
        if size != whole.shape[dim]:
            start = (whole.shape[dim] - size) // 2 if dim >= 2 else 0
            sliced, begins = sliced.narrow(dim, start, size), begins and not start
    if not begins:
        sliced = sliced.clone(memory_format=torch.contiguous_format)
    if whole.dim() == 5:
        return channels_last(sliced)
    if whole.dim() == 1 or sliced is whole:
        return sliced
    return sliced.reshape(-1).view(sliced.shape)  # as in `channels_last`, for sizes of 1


class Affine(nn.Module):
    """A linear layer (B, in) -> (B, out) that takes however many features come in."""

    def __init__(self, width_in: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in)))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor, width: int) -> Tensor:
        weight = part(self.weight, width, x.shape[1])
        return F.linear(x, weight, None if self.bias is None else part(self.bias, width))

    @staticmethod
    def macs(width_in: int, width: int) -> int:
        return width_in * width


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over (T, H, W) (X3D's; biases on)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.squeeze = Affine(width, squeezed(width, reduction))
        self.excite = Affine(squeezed(width, reduction), width)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        gates = F.relu(self.squeeze(x.mean((2, 3, 4)), squeezed(c, self.reduction)))
        return x * torch.sigmoid(self.excite(gates, c)).view(-1, c, 1, 1, 1)

    @staticmethod
    def macs(width: int, reduction: int) -> int:
        return 2 * width * squeezed(width, reduction)


def squeezed(width: int, reduction: int) -> int:
    """Width inside squeeze-excitation: width / reduction to the nearest multiple of 8, never below 90 % of it."""
    exact = width / reduction
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
