"""Batch norm of wide pixels equals torch's: forward, gradients, running statistics; and where it is torch's own."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from rounding import UNIT, distance, room
from torch import Tensor

from autovid.kernels import batch_norm as kernels
from autovid.kernels.batch_norm import batch_norm

SHAPES = [(4, 12, 8, 20, 20), (1, 8, 4, 64, 64), (3, 27, 5, 19, 22), (2, 1, 16, 64, 64), (2, 24, 2, 37, 38)]
ACTIVATIONS = {
    "none": lambda y: y,
    "relu": lambda y: F.relu(y, inplace=True),
    "silu": F.silu,
}


def example(shape: tuple[int, ...], dtype: torch.dtype, mean: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + mean
    weight, bias = torch.rand(2, shape[1], generator=generator, dtype=torch.float64)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d)
    return x.requires_grad_(), weight.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_()


def passes(normalise: object, dtype: torch.dtype, shape: tuple[int, ...], activation: str) -> list[Tensor]:
    """Output, gradients, running statistics."""
    x, weight, bias = example(shape, torch.float32)
    x, weight, bias = (tensor.detach().to(dtype).requires_grad_() for tensor in (x, weight, bias))
    running = [torch.zeros(shape[1], dtype=dtype), torch.ones(shape[1], dtype=dtype)]
    out = ACTIVATIONS[activation](normalise(x, *running, weight, bias, True, 0.1, 1e-5))  # type: ignore[operator]
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32).to(dtype)
    return [out.detach(), *torch.autograd.grad(out, (x, weight, bias), grad), *running]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_torchs_in_double_precision(shape: tuple[int, ...], activation: str) -> None:
    assert kernels._side_by_side(example(shape, torch.float32)[0].detach()) > 1
    theirs = passes(F.batch_norm, torch.float64, shape, activation)
    for ours, expected in zip(passes(batch_norm, torch.float64, shape, activation), theirs, strict=True):
        assert ours.shape == expected.shape
        assert distance(ours, expected) < 1e-11  # a few hundred thousand roundings of 1e-16
    pixels = torch.Size(shape).numel() // shape[1]
    for ours, expected in zip(passes(batch_norm, torch.float32, shape, activation), theirs, strict=True):
        assert distance(ours.double(), expected) < 4 * room(pixels)  # ReLU turns at other pixels, by a rounding


def test_keeps_the_layout() -> None:
    out, grad, *_ = passes(batch_norm, torch.float32, SHAPES[0], "relu")
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert grad.is_contiguous(memory_format=torch.channels_last_3d)


def test_variance_far_from_zero_does_not_cancel() -> None:
    x, weight, bias = example(SHAPES[0], torch.float32, mean=1000.0)
    with torch.no_grad():
        ours = batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5)
        theirs = F.batch_norm(x.double(), None, None, weight.double(), bias.double(), True, 0.0, 1e-5)
    assert distance(ours.double(), theirs) < 1000 * 8 * UNIT  # an input has 500 deviations' roundings


def test_without_gradient_it_has_the_same_bits() -> None:
    """Scoring and training pass through one kernel; without running statistics they stay alone."""
    x, weight, bias = example(SHAPES[0], torch.float32)
    trained = batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5)
    with torch.no_grad():
        assert torch.equal(batch_norm(x.detach(), None, None, weight, bias, True, 0.0, 1e-5), trained)


@pytest.mark.parametrize("case", ["small", "wide", "odd", "contiguous", "bf16", "test"])
def test_all_else_is_torchs_own(case: str) -> None:
    shape = {"small": (2, 12, 2, 5, 5), "wide": (2, 48, 4, 20, 20), "odd": (1, 12, 13, 31, 31)}.get(case, SHAPES[0])
    x, weight, bias = (tensor.detach() for tensor in example(shape, torch.float32))
    x = x.contiguous() if case == "contiguous" else x.bfloat16() if case == "bf16" else x
    mean, var = torch.zeros(shape[1]), torch.ones(shape[1])
    with mock.patch.object(kernels, "_normalise", side_effect=AssertionError):
        out = batch_norm(x, mean.clone(), var.clone(), weight, bias, case != "test", 0.1, 1e-5)
    assert torch.equal(out, F.batch_norm(x, mean, var, weight, bias, case != "test", 0.1, 1e-5))  # the same call


def test_tracers_see_an_ordinary_norm() -> None:
    x, weight, bias = (tensor.detach() for tensor in example(SHAPES[0], torch.float32))
    traced = torch.jit.trace(
        lambda x: batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5), (x,), check_trace=False
    )
    assert "aten::batch_norm" in str(traced.graph)
