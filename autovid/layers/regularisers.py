"""Regularisers in training: random mean scaling, branches left out at random, batches blended. Clips (B, C, T, H, W).

RMS, random mean scaling: Kim et al., "Regularization on spatio-temporally smoothed feature for action recognition",
CVPR 2020. In training the local mean of a feature map is scaled by a random factor. With mu the map smoothed over space
and time, y = x + (a - 1) mu, one random a for every clip and block; in test y = x. Ours, since the text of the paper is
out of reach: a ~ U(1 - spread, 1 + spread), the size of the kernel and of sigma, means at the edges over positions
inside alone, the gradient through mu. Its rivals, as the paper has them (equations 2 to 4 of the supplement):

RandomDrop: Huang et al., "Deep networks with stochastic depth", 2016, arXiv 1603.09382. One gate b per block and
mini-batch, P(b = 1) = p falling linearly with depth; y = b x in training, E[b] x = p x in test.

ShakeDrop: Yamada et al., "ShakeDrop regularization", 2018, arXiv 1802.02375, with alpha = 0 and beta ~ U(0, beta_max):
dropped branches still learn, by a gradient that is scaled at random. y = b x forward, dx = (b + beta - b beta) dy
backward, p x in test. b is drawn per block and mini-batch; beta too, or for every element of the map ("pixel").

CutMix: Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features", 2019, arXiv
1905.04899. A box of every clip comes from another clip of the batch, the same box in every frame, of 1 - lambda of the
picture, lambda ~ Beta(1, 1) = U(0, 1); the labels are blended by area.

Mixing: CutMix with lambda from a Beta as well, as in section 3.1 of its paper, or mixup: Zhang et al., "mixup: Beyond
empirical risk minimization", 2018, arXiv 1710.09412, lambda ~ Beta(alpha, alpha). Where both are asked for, each batch
takes one of them, with even chances, as `Mixup` of timm does.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta

from autovid import distributed
from autovid.kernels.compute import full_precision
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.layers.convolutions import fold, unfold
from autovid.layers.sync_batch import empty_like

Kernel = tuple[int, int, int]


class RandomMeanScaling(nn.Module):
    """y = x + (a - 1) smooth(x) with a ~ U(1 - spread, 1 + spread) drawn per clip; the identity in test."""

    def __init__(self, smooth: nn.Module, spread: float = 1.0) -> None:
        super().__init__()
        self.smooth, self.spread = smooth, spread

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x

        def draw(batch: int) -> Tensor:
            return x.new_empty(batch, 1, 1, 1, 1).uniform_(-self.spread, self.spread)

        return torch.addcmul(x, self.smooth(x), distributed.shard(draw, x.shape[0]))


class AverageFilter(nn.Module):
    """The mean over a window around every position, of positions inside the map."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        t, h, w = self.kernel
        x = unfold(_mean2d(fold(x), (h, w)), x.shape[0])
        return x if t == 1 else _mean_over_time(x, t)


class GaussianFilter(nn.Module):
    """A weighted mean with Gaussian weights, those of positions outside of the map left out.

    `literal` takes the weights of the supplement's equation 1 as they stand: they do not sum to 1, and the map is zero
    outside.
    """

    taps: Tensor

    def __init__(self, kernel: Kernel, sigma: float = 1.0, literal: bool = False) -> None:
        super().__init__()
        self.padding, self.literal = tuple(size // 2 for size in kernel), literal
        axes = [torch.arange(size) - size // 2 for size in kernel]
        t, y, x = torch.meshgrid(*axes, indexing="ij")
        taps = torch.exp(-(t**2 + y**2 + x**2) / (2 * sigma**2))
        taps = taps / (sigma * math.sqrt(2 * math.pi)) ** 3 if literal else taps / taps.sum()
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        smooth = depthwise_conv3d(x, self.taps.to(x.dtype).expand(x.shape[1], 1, *self.taps.shape))
        return smooth if self.literal else smooth / self._inside(x).to(smooth.dtype)

    def _inside(self, x: Tensor) -> Tensor:
        """Return the weight that lies inside the map, at every position: (1, 1, T, H, W)."""
        with full_precision(x):
            ones = torch.ones(1, 1, *x.shape[2:], device=x.device, dtype=self.taps.dtype)
            return F.conv3d(ones, self.taps[None, None], padding=self.padding)


def _mean2d(x: Tensor, kernel: tuple[int, int]) -> Tensor:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)


def _mean_over_time(x: Tensor, size: int) -> Tensor:
    """Pool the frames' columns in 2-D: 20 times as fast as 3-D pooling on CPUs, which lacks bf16 as well."""
    b, c, t, h, w = x.shape
    columns_BCTP = x.permute(0, 2, 3, 4, 1).reshape(b, t, h * w, c).permute(0, 3, 1, 2)  # P positions of a frame
    means = _mean2d(columns_BCTP, (size, 1))
    return means.permute(0, 2, 3, 1).reshape(b, t, h, w, c).permute(0, 4, 1, 2, 3)


class RandomDrop(nn.Module):
    """RandomDrop; `survival` is p. The branch is computed, then multiplied, so that no device waits for the gate."""

    def __init__(self, survival: float) -> None:
        super().__init__()
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        return x * (gate(self.survival, x) if self.training else self.survival)


class ShakeDrop(nn.Module):
    """ShakeDrop; `survival` is p = P(b = 1)."""

    def __init__(self, survival: float, beta_max: float = 1.0, level: Literal["batch", "pixel"] = "batch") -> None:
        super().__init__()
        self.survival, self.beta_max, self.level = survival, beta_max, level

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x * self.survival
        if self.level == "pixel":
            beta = distributed.shard(lambda batch: empty_like(x, batch).uniform_(), x.shape[0])
        else:
            beta = torch.rand((), device=x.device, dtype=x.dtype)
        out: Tensor = _Shake.apply(x, gate(self.survival, x), self.beta_max * beta)  # type: ignore[no-untyped-call]
        return out


def gate(survival: float, like: Tensor) -> Tensor:
    """Draw one random gate (): 1 with probability `survival`, else 0; on the device and in the precision of `like`."""
    return (torch.rand((), device=like.device) < survival).to(like.dtype)


def survival_rates(blocks: int, last: float) -> list[float]:
    """Return p of blocks 1 ... L of a network: from the input's 1 down to `last`, linear in depth."""
    return [1 - (1 - last) * number / blocks for number in range(1, blocks + 1)]


class _Shake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, b: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(b, beta)
        return x * b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        b, beta = ctx.saved_tensors
        return grad * (b + (1 - b) * beta), None, None


class CutMix:
    """A blend of a batch, with probability `probability`; one box and one order of the clips a batch."""

    def __init__(self, probability: float = 1.0) -> None:
        self.probability = probability

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (B, C, T, H, W) and their distributions over classes (B, K)."""
        if torch.rand(()).item() >= self.probability:
            return x, targets
        return paste(x, targets, box(torch.rand(3).tolist(), *x.shape[3:]))


def paste(x: Tensor, targets: Tensor, edges: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Blend clips (B, C, T, H, W) and targets (B, K) with others, in random order: a box of these edges is theirs."""
    top, bottom, left, right = edges
    others = distributed.shard(torch.randperm, x.shape[0]).to(x.device)  # among the clips of all workers
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = distributed.gather(x[..., top:bottom, left:right]).flatten(0, 1)[others]
    area = (bottom - top) * (right - left) / (x.shape[3] * x.shape[4])  # of the box as cut at the border
    return mixed, (1 - area) * targets + area * distributed.gather(targets).flatten(0, 1)[others]


def box(uniform: list[float], height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a box from three numbers in [0, 1): lambda, the centre's row and column.

    Its sides are sqrt(1 - lambda) of the picture's; what juts out is cut off.
    """
    side = (1 - uniform[0]) ** 0.5
    edges = []
    for size, place in zip((height, width), uniform[1:]):
        centre, half = int(place * size), int(side * size) // 2
        edges += [max(0, centre - half), min(size, centre + half)]
    return edges[0], edges[1], edges[2], edges[3]


class Mixing:
    """A blend of every batch, with the alpha of mixup and that of CutMix; 0 leaves one out.

    All random numbers are of torch's global generator, which is the same on all workers; they blend the whole batch.
    """

    def __init__(self, mixup: float, cutmix: float) -> None:
        self.mixup, self.cutmix = mixup, cutmix

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (B, C, T, H, W) and their targets (B, K)."""
        cut = self.cutmix > 0 and (self.mixup == 0 or torch.rand(()).item() < 0.5)
        alpha = torch.tensor(self.cutmix if cut else self.mixup, dtype=torch.float64)
        kept = Beta(alpha, alpha).sample().item()
        if cut:
            return paste(x, targets, box([kept, *torch.rand(2).tolist()], *x.shape[3:]))
        others = distributed.shard(torch.randperm, x.shape[0]).to(x.device)
        partners, labels = (distributed.gather(one).flatten(0, 1)[others] for one in (x, targets))
        return torch.lerp(x, partners, 1 - kept), torch.lerp(targets, labels, 1 - kept)  # x first: its layout stays
