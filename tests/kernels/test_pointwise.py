"""The pointwise convolution equals torch's and keeps the layout, on one thread too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from rounding import distance, room
from torch.utils.flop_counter import FlopCounterMode

from autovid.kernels.chosen import Kernels, current_kernels, use_kernels
from autovid.kernels.maps import MACS, PIXELS, pointwise_conv3d
from autovid.layers.convolutions import FrameConv, channels_last


@pytest.fixture(params=[(1, "product"), (1, "images"), (2, "product")], ids=str, autouse=True)
def _threads_and_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    threads, kernels = torch.get_num_threads(), current_kernels()
    torch.set_num_threads(request.param[0])
    use_kernels(Kernels(pointwise=request.param[1]))
    yield
    torch.set_num_threads(threads)
    use_kernels(kernels)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (4, 1, 1)], ids=str)
def test_equals_torch_and_keeps_the_layout(stride: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 5, 9, 8).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    weight = torch.randn(20, 12, 1, 1, 1, requires_grad=True)
    out, expected = pointwise_conv3d(x, weight, stride), F.conv3d(x, weight, stride=stride)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert distance(out, expected) < room(12)
    grad = torch.randn_like(out)
    ours, theirs = (torch.autograd.grad(y, (x, weight), grad) for y in (out, expected))
    assert distance(ours[0], theirs[0]) < room(20)
    assert distance(ours[1], theirs[1]) < room(out[:, 0].numel())


def test_one_small_clip_keeps_the_layout_whatever_the_threads() -> None:
    """Torch's own has a contiguous result there, and what comes behind would copy it."""
    torch.manual_seed(0)
    x = torch.randn(1, 24, 4, 28, 28).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    weight = torch.randn(54, 24, 1, 1, 1, requires_grad=True)
    out = pointwise_conv3d(x, weight)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert distance(out, F.conv3d(x, weight)) < room(24)


LARGE = [(3, 8, 5, 20, 20, 96), (1, 16, 2, 64, 64, 32), (17, 12, 1, 33, 31, 24)]  # B, C, T, H, W, D
HEAVY = [(1, 96, 15, 8, 8, 40), (16, 48, 1, 7, 7, 80)]


@pytest.mark.parametrize("size", LARGE + HEAVY, ids=str)
def test_large_and_heavy_maps_equal_torchs(size: tuple[int, ...]) -> None:
    """Fewer than 16 frames and more."""
    torch.manual_seed(0)
    *shape, width = size
    assert (torch.Size(shape).numel() >= PIXELS * shape[1]) is (size in LARGE)
    assert torch.Size(shape).numel() * width >= MACS
    x = torch.randn(*shape).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    weight = channels_last(torch.randn(width, shape[1], 1, 1, 1)).requires_grad_()
    out, expected = pointwise_conv3d(x, weight), F.conv3d(x.double(), weight.double()).float()
    assert distance(out, expected) < room(shape[1])
    grad = torch.randn_like(out)
    ours = torch.autograd.grad(out, (x, weight), grad)
    theirs = torch.autograd.grad(expected, (x, weight), grad)
    assert distance(ours[0], theirs[0]) < room(width)
    assert distance(ours[1], theirs[1]) < room(out[:, 0].numel())
    if torch.get_num_threads() == 1:  # else torch's own, which does as it likes
        assert out.is_contiguous(memory_format=torch.channels_last_3d)
        assert ours[0].is_contiguous(memory_format=torch.channels_last_3d)


def test_heavy_maps_are_images_where_these_are_the_kernels() -> None:
    x = torch.randn(1, 96, 15, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    with torch.profiler.profile() as profile:
        pointwise_conv3d(x, torch.randn(40, 96, 1, 1, 1))
    images = current_kernels().pointwise == "images"
    assert any(event.name == "aten::convolution" for event in profile.events()) is images


def test_slice_of_a_weight_equals_its_copy() -> None:
    whole = torch.randn(100, 100, 1, 1, 1)
    for channels, width in ((12, 16), (90, 40)):  # light and heavy
        x = torch.randn(2, channels, 16, 6, 6).contiguous(memory_format=torch.channels_last_3d)
        part = whole[:width, :channels]
        # to the bit as the search's layers call it: with a slice that has the layout of a weight of its own
        assert torch.equal(pointwise_conv3d(x, channels_last(part)), pointwise_conv3d(x, channels_last(part.clone())))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_few_channels_with_a_stride_do_not_reach_the_broken_kernel(channels: int) -> None:
    """The convolution that torch gets to see has stride 1. Seeing the fault itself would kill the test suite."""
    x = torch.randn(2, channels, 3, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(8, channels, 1, 1, 1, requires_grad=True)
    with torch.profiler.profile(record_shapes=True) as profile:
        pointwise_conv3d(x, weight, (1, 2, 2)).sum().backward()
    for event in profile.events():
        if event.name == "aten::convolution_backward":
            assert event.input_shapes[1][3:] == [4, 4]


def test_counters_and_tracers_see_its_operations() -> None:
    x, weight = torch.randn(2, 4, 3, 6, 6), torch.randn(8, 4, 1, 1, 1)
    with FlopCounterMode(display=False) as counter:
        pointwise_conv3d(x, weight, (1, 2, 2))
    assert counter.get_total_flops() == 2 * 2 * 3 * 3 * 3 * 4 * 8
    traced = torch.jit.trace(lambda x: pointwise_conv3d(x, weight, (1, 2, 2)), (x,), check_trace=False)
    assert "aten::_convolution" in str(traced.graph)
    assert "aten::slice" not in str(traced.graph)


def test_few_frames_keep_the_layout_and_leave_an_exported_batch_free() -> None:
    conv = FrameConv(64, 96, 1, bias=False, frame_stride=2)
    x = torch.randn(2, 64, 4, 14, 14).contiguous(memory_format=torch.channels_last_3d)
    out = conv(x)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    assert distance(out, F.conv3d(x, conv.weight.unsqueeze(2), stride=(2, 1, 1))) < room(64)
    program = torch.export.export(conv, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert program.module()(x[:1]).shape == (1, 96, 2, 14, 14)
