"""Layers that serve every candidate of a decision with one tensor of weights.

Each is as large as its largest candidate and uses the leading channels (and the middle of a kernel) for a smaller one.
In a frozen network the largest is the only one. Supernet and frozen network run the same operations on the same numbers
in the same memory layout (`slice_shared`), so that their results have the same bits, on every processor: no library has
anything to tell them by. How many channels come in is read off the input; how many go out is the caller's to say.

Sharing by slices is ours: the paper does not say how its supernet shares weights.

Convolutions have no bias. One that a norm is folded into (`autovid.models.folding`) gets one, of the only architecture.

What a layer costs stands beside its `forward`: MACs, parameters and, where backward keeps more than maps that go in or
come out, the bytes of that.

Shapes: B batch, C channels, T frames, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.site import Size
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.maps import mean_of_pixels, pointwise_conv3d
from autovid.layers.convolutions import channels_last, he_normal
from autovid.layers.sync_batch import batch_norm

FLOAT = 4  # bytes


class ElasticPointwise(nn.Module):
    """1x1x1 convolution: (B, C, T, H, W) -> (B, out, T, H, W), with spatial stride."""

    bias: Tensor | None

    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = (1, stride, stride)
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in, 1, 1, 1)))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, width: int) -> Tensor:
        return pointwise_conv3d(x, slice_shared(self.weight, width, x.shape[1]), self.stride, self.bias)

    @staticmethod
    def macs(width_in: int, width: int, size: Size) -> int:
        """`size` is that of the map that comes out."""
        return width_in * width * size.positions

    @staticmethod
    def params(width_in: int, width: int) -> int:
        return width_in * width


class ElasticDepthwise(nn.Module):
    """Depthwise t x k x k convolution, same padding, spatial stride; smaller kernels are the middle."""

    centred = True
    bias: Tensor | None

    def __init__(self, width: int, temporal_kernel: int, spatial_kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = (1, stride, stride)
        kernel = (temporal_kernel, spatial_kernel, spatial_kernel)
        self.weight = nn.Parameter(he_normal(torch.empty(width, 1, *kernel)))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, temporal_kernel: int, spatial_kernel: int) -> Tensor:
        weight = slice_shared(self.weight, x.shape[1], 1, temporal_kernel, spatial_kernel, spatial_kernel)
        return depthwise_conv3d(x, weight, self.stride, self.bias)

    @staticmethod
    def macs(width: int, temporal_kernel: int, spatial_kernel: int, size_out: Size) -> int:
        return width * temporal_kernel * spatial_kernel**2 * size_out.positions

    @staticmethod
    def params(width: int, temporal_kernel: int, spatial_kernel: int) -> int:
        return width * temporal_kernel * spatial_kernel**2


class ElasticConv(nn.Module):
    """t x k x k convolution, same padding, spatial stride; smaller kernels are the middle."""

    centred = True
    bias: Tensor | None

    def __init__(self, width_in: int, width: int, temporal_kernel: int, spatial_kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = (1, stride, stride)
        kernel = (temporal_kernel, spatial_kernel, spatial_kernel)
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in, *kernel)))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, width: int, temporal_kernel: int, spatial_kernel: int) -> Tensor:
        weight = slice_shared(self.weight, width, x.shape[1], temporal_kernel, spatial_kernel, spatial_kernel)
        padding = (temporal_kernel // 2, spatial_kernel // 2, spatial_kernel // 2)
        return F.conv3d(x, weight, self.bias, self.stride, padding)

    @staticmethod
    def macs(width_in: int, width: int, temporal_kernel: int, spatial_kernel: int, size_out: Size) -> int:
        return width_in * width * temporal_kernel * spatial_kernel**2 * size_out.positions

    @staticmethod
    def params(width_in: int, width: int, temporal_kernel: int, spatial_kernel: int) -> int:
        return width_in * width * temporal_kernel * spatial_kernel**2


class ElasticBatchNorm(nn.Module):
    """Batch normalisation of however many channels come in.

    While `scoring`, it normalises with the statistics of the batch and leaves the running ones alone: the running ones
    are an average over architectures and fit none of them. With `sync`, statistics of a batch are those of all workers'
    clips.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, zero: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum, self.zero, self.scoring = eps, momentum, zero, False
        self.sync = True
        self.weight = nn.Parameter(torch.zeros(width) if zero else torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        weight, bias = slice_shared(self.weight, c), slice_shared(self.bias, c)
        if self.scoring:
            return batch_norm(x, None, None, weight, bias, True, 0.0, self.eps, self.sync)
        mean, var = slice_shared(self.running_mean, c), slice_shared(self.running_var, c)
        return batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps, self.sync)

    @staticmethod
    def params(width: int) -> int:
        return 2 * width

    @staticmethod
    def activation_bytes(width: int, size: Size) -> int:
        """Count the map that comes in, and each channel's mean and deviation."""
        return map_bytes(width, size) + 2 * FLOAT * width


def slice_shared(whole: Tensor, *sizes: int) -> Tensor:
    """Return the part of a shared tensor that has these sizes, laid out in memory as in a frozen network.

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


class ElasticLinear(nn.Module):
    """A linear layer (B, in) -> (B, out) that takes however many features come in."""

    def __init__(self, width_in: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(he_normal(torch.empty(width, width_in)))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor, width: int) -> Tensor:
        weight = slice_shared(self.weight, width, x.shape[1])
        return F.linear(x, weight, None if self.bias is None else slice_shared(self.bias, width))

    @staticmethod
    def macs(width_in: int, width: int) -> int:
        return width_in * width

    @staticmethod
    def params(width_in: int, width: int, bias: bool = True) -> int:
        return (width_in + bias) * width


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over (T, H, W) (X3D's; biases on)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.squeeze = ElasticLinear(width, squeezed(width, reduction))
        self.excite = ElasticLinear(squeezed(width, reduction), width)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        gates = F.relu(self.squeeze(mean_of_pixels(x), squeezed(c, self.reduction)))
        return x * torch.sigmoid(self.excite(gates, c)).view(-1, c, 1, 1, 1)

    @staticmethod
    def macs(width: int, reduction: int) -> int:
        return 2 * width * squeezed(width, reduction)

    @staticmethod
    def params(width: int, reduction: int) -> int:
        inner = squeezed(width, reduction)
        return ElasticLinear.params(width, inner) + ElasticLinear.params(inner, width)

    @staticmethod
    def activation_bytes(width: int, reduction: int, size: Size) -> int:
        """Count the map that comes in, its mean, the squeezed features and the gates."""
        return map_bytes(width, size) + FLOAT * (2 * width + squeezed(width, reduction))


def squeezed(width: int, reduction: int) -> int:
    """Width inside squeeze-excitation: width / reduction to the nearest multiple of 8, never below 90 % of it."""
    exact = width / reduction
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def map_bytes(width: int, size: Size) -> int:
    """Bytes of a feature map of one clip in fp32."""
    return FLOAT * width * size.positions
