"""Random mean scaling: what is smoothed, how it is scaled, and that test is the identity."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from rounding import BF16, UNIT
from torch import Tensor

from autovid.layers.regularisers import AverageFilter, GaussianFilter, Kernel, RandomMeanScaling

SHAPES = [(2, 3, 4, 5, 6), (1, 4, 1, 3, 3), (2, 2, 2, 1, 1), (1, 1, 3, 4, 4)]
KERNELS: list[Kernel] = [(3, 3, 3), (1, 3, 3), (3, 1, 1), (5, 3, 5)]


def clip(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    return x.contiguous(memory_format=torch.channels_last_3d)


def by_hand(x: Tensor, taps: Tensor, inside_only: bool) -> Tensor:
    """The weighted mean around every position, one position and one tap at a time."""
    out = torch.zeros_like(x)
    sizes, radius = x.shape[2:], [size // 2 for size in taps.shape]
    for place in itertools.product(*map(range, sizes)):
        total = 0.0
        for tap in itertools.product(*map(range, taps.shape)):
            t, h, w = (p + k - r for p, k, r in zip(place, tap, radius))
            if 0 <= t < sizes[0] and 0 <= h < sizes[1] and 0 <= w < sizes[2]:
                out[(..., *place)] += taps[tap] * x[:, :, t, h, w]
                total += taps[tap].item()
        if inside_only:
            out[(..., *place)] /= total
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_average_leaves_out_what_is_outside(shape: tuple[int, ...], kernel: Kernel) -> None:
    x = clip(shape, torch.float64)
    # float64: 45 roundings of sums below 200 by 2^-53
    assert torch.allclose(AverageFilter(kernel)(x), by_hand(x, torch.ones(kernel), True), atol=1e-12)


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_gaussian_is_equation_1(literal: bool, sigma: float) -> None:
    x, kernel = clip(SHAPES[0]), (3, 5, 3)
    taps = torch.empty(kernel)
    for t, y, x_ in itertools.product(range(3), range(5), range(3)):
        square = (t - 1) ** 2 + (y - 2) ** 2 + (x_ - 1) ** 2
        taps[t, y, x_] = math.exp(-square / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) ** 3
    smooth = GaussianFilter(kernel, sigma, literal)(x)
    # either way 45 roundings of a weighted mean of numbers below 4, and of as many taps
    assert torch.allclose(smooth, by_hand(x, taps, not literal), atol=45 * 4 * 4 * UNIT)


def test_a_constant_map_stays_as_it_is_up_to_the_edge() -> None:
    x = torch.full((1, 2, 3, 4, 4), 2.5)
    for smooth in (AverageFilter((3, 3, 3)), GaussianFilter((3, 3, 3))):
        assert torch.allclose(smooth(x), x)  # 27 taps and their sum: 54 roundings, 3.2e-6, below torch's 1e-5


def test_test_is_the_identity_and_training_is_not() -> None:
    x, rms = clip(SHAPES[0]), RandomMeanScaling(AverageFilter((3, 3, 3)))
    assert rms.eval()(x) is x
    assert not torch.equal(rms.train()(x), x)


def test_mean_over_draws_is_the_identity() -> None:
    """a - 1 ~ U(-1, 1) has variance 1/3: the mean of n draws is within 5 sqrt(mu^2 / 3n) of x, position by position."""
    torch.manual_seed(1)
    draws, x = 20_000, clip((1, 2, 2, 3, 3))
    smooth = AverageFilter((3, 3, 3))
    y = RandomMeanScaling(smooth)(x.expand(draws, *x.shape[1:]))
    bound = 5 * smooth(x).abs() * (1 / (3 * draws)) ** 0.5
    assert ((y.mean(0, keepdim=True) - x).abs() <= bound + 1e-5).all()  # 1e-5 for rounding a mean of numbers below 4
    spread = ((y - x) / smooth(x)).var(0)
    # the variance of a uniform number, of n draws, has a deviation of sqrt(4 / 5n) of itself: 0.6 %
    assert torch.allclose(spread, torch.full_like(spread, 1 / 3), rtol=0.05)


def test_one_factor_a_clip_inside_the_range() -> None:
    torch.manual_seed(2)
    x, smooth = clip((50, 3, 2, 3, 3)), AverageFilter((1, 3, 3))
    y, mean = RandomMeanScaling(smooth, spread=0.25)(x), smooth(x)
    of_clip = (1 + (y - x) / mean).flatten(1).median(1).values
    # a few roundings of numbers below 8, and the factor's own, below 1e-6 in the middle
    assert torch.allclose(y, x + (of_clip - 1).view(-1, 1, 1, 1, 1) * mean, atol=1e-5)
    assert 0.75 <= of_clip.min() < 0.8
    assert 1.2 < of_clip.max() <= 1.25
    assert len(of_clip.round(decimals=4).unique()) > 40


@pytest.mark.parametrize("smooth", [AverageFilter((3, 3, 3)), GaussianFilter((3, 3, 3)).double()], ids=str)
def test_gradient_goes_through_the_mean(smooth: torch.nn.Module) -> None:
    rms, x = RandomMeanScaling(smooth), clip((2, 2, 2, 3, 3), torch.float64).requires_grad_()

    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return rms(x)

    assert torch.autograd.gradcheck(seeded, x)
    (grad,) = torch.autograd.grad(seeded(x).sum(), x)
    assert (grad - 1).abs().min() > 1e-3  # without the mean's share it would be 1


@pytest.mark.parametrize("smooth", [AverageFilter((3, 3, 3)), GaussianFilter((3, 3, 3))], ids=["mean", "gauss"])
def test_bf16_and_layout(smooth: torch.nn.Module) -> None:
    x = clip((2, 8, 4, 6, 6)).requires_grad_()
    low = x.detach().bfloat16().requires_grad_()
    rms = RandomMeanScaling(smooth)
    torch.manual_seed(4)
    with torch.autocast("cpu", torch.bfloat16):
        y = rms(low)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    (grad,) = torch.autograd.grad(y.float().square().sum(), low)
    assert grad.isfinite().all()
    # the input, the taps and the result, below 4 and 2, are rounded to bfloat16: 4 + 2 + 2 times 2^-8 at most
    assert torch.allclose(smooth(low.detach()).float(), smooth(x.detach()), atol=8 * BF16)
    assert rms(x).is_contiguous(memory_format=torch.channels_last_3d)
