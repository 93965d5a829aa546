"""Shift, aggregation, convolution over time, non-local attention: each against its definition.

`assert_close` allows 1e-5 + 1.3e-6 of the value in float32. Sums here have up to 36 products and stay below 3:
36 * 3 roundings of 2^-24 are 6e-6. Where there are more, it is said.
"""

import pytest
import torch
import torch.nn.functional as F
from rounding import UNIT, distance, room
from torch import Tensor, nn

from autovid.layers.convolutions import FrameConv, TemporalConv
from autovid.layers.temporal_modules import (
    DenseAggregation,
    NonLocalBlock,
    TemporalAggregation,
    TemporalShift,
    shift,
    weigh_frames,
)


def clip(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator).contiguous(memory_format=torch.channels_last_3d)


def is_laid_out(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d)


def test_shift_by_hand() -> None:
    """Eight channels, three frames: the first channel from the next frame, the second from the one before."""
    x = torch.arange(1.0, 25.0).view(1, 8, 3, 1, 1)  # channel c holds 3c + 1, 3c + 2, 3c + 3
    y = TemporalShift()(x).view(8, 3)
    assert y[0].tolist() == [2, 3, 0]
    assert y[1].tolist() == [0, 4, 5]
    assert torch.equal(y[2:], x.view(8, 3)[2:])


def test_the_gradient_of_a_shift_is_the_shift_back() -> None:
    x = clip(2, 8, 4, 2, 2).requires_grad_()
    grad = clip(2, 8, 4, 2, 2).flip(2)
    (gradient,) = torch.autograd.grad(shift(x, 2), x, grad)
    assert torch.equal(gradient, shift(grad, 2, -1))  # nothing is computed
    # sums of 256 numbers: within room(256) of their size, sqrt(256)
    assert ((shift(x, 2) * grad).sum() - (x * gradient).sum()).abs() < 16 * room(256)
    assert torch.autograd.gradcheck(lambda t: shift(t, 1), clip(1, 4, 3, 1, 1).double().requires_grad_())


def test_a_shift_allocates_once_and_keeps_the_layout() -> None:
    x = clip(1, 16, 4, 8, 8)
    with torch.profiler.profile(profile_memory=True) as profile:
        y = shift(x, 2)
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.events())
    assert allocated == x.numel() * 4
    assert is_laid_out(y)


def test_aggregation_is_a_depthwise_convolution_over_time() -> None:
    module, x = TemporalAggregation(6), clip(2, 6, 5, 3, 4)
    out = module(x)
    torch.testing.assert_close(out, F.relu(F.conv3d(x, module.weight, padding=(1, 0, 0), groups=6)))
    assert is_laid_out(out)
    alone = x.clone()
    alone[:, :, 2] += 1.0  # seen by frames 1, 2 and 3 alone
    changed = (module(alone) - out).abs().amax((0, 1, 3, 4))
    assert (changed > 0).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_weighing_frames_equals_the_convolution_with_its_gradients(frames: int) -> None:
    """What GPUs run, here on a CPU."""
    x, weight = clip(2, 6, frames, 3, 4), clip(6, 1, 3, 1, 1)
    grad = clip(2, 6, frames, 3, 4).flip(0)
    results, expected = [], []
    for function, into in ((weigh_frames, results), (lambda a, b: F.conv3d(a, b, None, 1, (1, 0, 0), 1, 6), expected)):
        inputs = x.clone().requires_grad_(), weight.clone().requires_grad_()
        out = function(*inputs)
        into.extend([out.detach(), *torch.autograd.grad(out, inputs, grad)])
    for mine, torchs in zip(results, expected):
        assert distance(mine, torchs) < room(2 * 5 * 3 * 4)  # of the weight's gradient, the longest sum
    assert is_laid_out(weigh_frames(x, weight))
    assert weigh_frames(x.bfloat16(), weight).dtype == torch.bfloat16
    double = x.double().requires_grad_(), weight.double().requires_grad_()
    assert torch.autograd.gradcheck(weigh_frames, double)


@pytest.mark.parametrize(("kernel", "stride", "bias"), [(3, 1, False), (3, 2, True), (5, 4, False)])
def test_convolution_over_time_equals_the_3d_one(kernel: int, stride: int, bias: bool) -> None:
    conv, x = TemporalConv(4, 6, kernel, stride, bias), clip(2, 4, 8, 3, 5)
    out = conv(x)
    torch.testing.assert_close(out, nn.Conv3d.forward(conv, x))
    assert is_laid_out(out)


def test_dense_aggregation_is_three_matrices_over_time() -> None:
    module, x = DenseAggregation(4), clip(1, 4, 3, 2, 2)
    before, now, after = module.conv.weight[:, :, :, 0, 0].unbind(2)
    frames = x[0].unbind(1)  # (C, H, W) each
    middle = sum(torch.einsum("dc,chw->dhw", w, frame) for w, frame in zip((before, now, after), frames))
    torch.testing.assert_close(module(x)[0, :, 1], F.relu(torch.as_tensor(middle)))
    first = torch.einsum("dc,chw->dhw", now, frames[0]) + torch.einsum("dc,chw->dhw", after, frames[1])
    torch.testing.assert_close(module(x)[0, :, 0], F.relu(first))


@pytest.mark.parametrize("subsample", [False, True])
def test_non_local_attends_to_every_position(subsample: bool) -> None:
    block, x = NonLocalBlock(8, subsample).eval(), clip(2, 8, 3, 4, 4)
    assert torch.equal(block(x), x)  # the norm starts at zero, and adding zero is exact
    nn.init.ones_(block.norm.weight)
    nn.init.constant_(block.norm.running_var, 1 - block.norm.eps)
    out = block(x)
    keys, values = (F.max_pool3d(y, (1, 2, 2)) if subsample else y for y in (block.key(x)[1:], block.value(x)[1:]))
    query = block.query(x)[1, :, 2, 1, 3]
    weights = torch.softmax(torch.einsum("c,cthw->thw", query, keys[0]).flatten(), 0)
    attended = (weights * values[0].flatten(1)).sum(1)
    expected = x[1, :, 2, 1, 3] + block.extend.weight[:, :, 0, 0] @ attended + block.extend.bias
    # scores are sums of 4 products, the softmax one of up to 48 positive numbers: 100 roundings of numbers below 2
    torch.testing.assert_close(out[1, :, 2, 1, 3], expected, rtol=1e-5, atol=100 * 2 * UNIT)
    assert is_laid_out(out)


def test_a_frame_stride_takes_every_other_frame() -> None:
    conv, x = FrameConv(4, 6, 3, padding=1, frame_stride=2), clip(2, 4, 5, 6, 6)
    out = conv(x)
    assert out.shape == (2, 6, 3, 6, 6)
    torch.testing.assert_close(out[:, :, 1], F.conv2d(x[:, :, 2], conv.weight, conv.bias, padding=1))
    assert is_laid_out(out)
