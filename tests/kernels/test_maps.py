"""Slices and means equal torch's, forward and backward, and their gradients keep the layout."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from autovid.kernels.maps import every_pixel, mean_of_pixels


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out, and the gradient of its weighted sum, as the operation itself hands it on."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = function(x)
    weights = torch.linspace(-1, 2, out.numel(), dtype=x.dtype).view(out.shape)
    (grad,) = torch.autograd.grad(out, x, weights)
    return out.detach(), grad


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 6), (1, 1, 3, 5, 7), (3, 8, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("stride", [(1, 2, 2), (2, 3, 1)], ids=str)
def test_slice_equals_torchs(shape: tuple[int, ...], stride: tuple[int, int, int]) -> None:
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    t, h, w = stride
    out, grad = gradient(lambda x: every_pixel(x, stride), x)
    expected, expected_grad = gradient(lambda x: x[:, :, ::t, ::h, ::w], x)
    assert torch.equal(out, expected)  # numbers are moved alone
    assert torch.equal(grad, expected_grad)
    assert grad.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 6), (1, 1, 3, 5, 7), (3, 8, 1, 1, 2)], ids=str)
def test_mean_equals_torchs(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    out, grad = gradient(mean_of_pixels, x)
    expected, expected_grad = gradient(lambda x: x.mean((2, 3, 4)), x)
    # sums of at most 144 numbers in float64, in another order: 144 roundings of 2^-53 are 2e-14 of their size
    assert torch.allclose(out, expected, rtol=1e-12)
    assert torch.allclose(grad, expected_grad, rtol=1e-12)
    assert grad.is_contiguous(memory_format=torch.channels_last_3d)


def test_all_pixels_are_the_map_itself() -> None:
    x = torch.randn(2, 3, 4, 6, 6)
    assert every_pixel(x, (1, 1, 1)) is x
