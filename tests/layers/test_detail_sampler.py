"""The detail sampler of S2DNet against its equations: weights, identity, gradients.

`assert_close` allows 1e-5 + 1.3e-6 of the value in float32: enough for the ten or so roundings (2^-24 each) of a weight
or a place. Samples of a ramp are sums of weights times values up to 300, whose weights are off by 1e-6 in sum: 3e-4;
they have 1e-3.
"""

import pytest
import torch
from torch import Tensor

from autovid.layers.detail_sampler import (
    Location,
    Locator,
    apply_filters,
    gaussian_filters,
    grid,
    interpolate_time,
    sample,
    sample_uniformly,
)


def ramp(frames: int, height: int, width: int) -> Tensor:
    """A clip that grows evenly along every axis, by other steps in every channel: what a symmetric blur keeps."""
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (frames, height, width)), indexing="ij")
    clip = torch.stack([t, t + 2 * y, y - 3 * x])[None]
    return torch.cat([clip, 2 * clip]).contiguous(memory_format=torch.channels_last_3d)


def at_rest(count: int, batch: int = 2) -> Location:
    return Location(torch.zeros(batch, 2), torch.zeros(batch, count, 4))


def test_gaussian_weights_sum_to_one_wherever_they_stand() -> None:
    weights = gaussian_filters(torch.tensor([-500.0, -0.3, 4.0, 9.0, 1e4]), 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(5))
    assert weights[0, 0] > 0.99  # out of reach on the left: the first frame
    assert weights[4, -1] > 0.99
    torch.testing.assert_close(weights[2, 2:7], weights[2, 2:7].flip(0))
    torch.testing.assert_close(weights[2, 5] / weights[2, 4], torch.tensor(-0.5).exp())  # sigma is 1


def test_the_grid_follows_the_equations() -> None:
    places = grid(torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0]), 21, 3, 2.0)
    torch.testing.assert_close(places[0], torch.tensor([8.0, 10.0, 12.0]))
    middle, step = torch.tensor(0.5).tanh() * 10 + 10, 2 * torch.tensor(1.0).exp()
    torch.testing.assert_close(places[1], torch.stack([middle - step, middle, middle + step]))


@pytest.mark.parametrize("temporal_filter", ["gaussian", "linear"])
def test_before_anything_is_learned_it_is_uniform_time_and_the_centre_crop(temporal_filter: str) -> None:
    x = ramp(60, 30, 36)
    seen = sample_uniformly(x, 4, 12, temporal_filter)
    assert seen.shape == (2, 3, 4, 12, 12)
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)
    between = (x[:, :, 7::15] + x[:, :, 7::15]) / 2  # the middles of four segments of 15 frames: 7, 22, 37, 52
    torch.testing.assert_close(seen, between[..., 9:21, 12:24], rtol=1e-4, atol=1e-3)


def test_the_second_stage_begins_at_the_centre_crop_of_the_middle_half() -> None:
    x = ramp(96, 30, 36)
    seen = sample(x, at_rest(4), 12)
    times = 47.5 + 12 * (torch.arange(4) - 1.5)  # T / (2 T_d) apart
    torch.testing.assert_close(seen[0, 0, :, 5, 5], times, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(seen[0, 1, 0, :, 5] - times[0], 2 * torch.arange(9.0, 21), rtol=1e-4, atol=1e-3)


def test_space_moves_and_scales_by_frame_and_by_axis() -> None:
    where = at_rest(2)
    where.space[0, 1] = torch.tensor([0.2, -0.1, 0.3, -0.4])  # mu_x, mu_y, delta_x, delta_y
    x = ramp(8, 60, 60)
    seen, plain = sample(x, where, 9), sample(x, at_rest(2), 9)
    torch.testing.assert_close(seen[0, :, 0], plain[0, :, 0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(seen[1], plain[1], rtol=1e-4, atol=1e-3)
    rows = 29.5 + 29.5 * torch.tensor(-0.1).tanh() + torch.arange(-4, 5) * torch.tensor(-0.4).exp()
    columns = 29.5 + 29.5 * torch.tensor(0.2).tanh() + torch.arange(-4, 5) * torch.tensor(0.3).exp()
    torch.testing.assert_close(seen[0, 2, 1], rows[:, None] - 3 * columns, rtol=1e-4, atol=1e-3)


def test_filtering_is_three_sums() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 6, 7).contiguous(memory_format=torch.channels_last_3d)
    times, rows, columns = torch.rand(2, 2) * 4, torch.rand(2, 2, 3) * 5, torch.rand(2, 2, 4) * 6
    by_hand = torch.einsum(
        "bctyx,bst,bsiy,bsjx->bcsij",
        x,
        gaussian_filters(times, 5),
        gaussian_filters(rows, 6),
        gaussian_filters(columns, 7),
    )
    # three means in turn of numbers below 4: some 50 roundings of 2^-24 of them
    torch.testing.assert_close(apply_filters(x, times, rows, columns, "gaussian"), by_hand, rtol=1e-4, atol=1e-5)
    plain = apply_filters(x.contiguous(), times, rows, columns, "gaussian")
    torch.testing.assert_close(plain, by_hand, rtol=1e-4, atol=1e-5)


def test_the_linear_filter_takes_the_two_frames_around() -> None:
    x = torch.randn(1, 3, 5, 4, 4)
    seen = interpolate_time(x, torch.tensor([[1.25, 3.0, -2.0, 9.0]]))
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(seen[:, :, 0], 0.75 * x[:, :, 1] + 0.25 * x[:, :, 2])
    torch.testing.assert_close(seen[:, :, 1:], x[:, :, [3, 0, 4]])


def test_the_sampler_computes_in_fp32_under_autocast() -> None:
    x = ramp(8, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        seen = sample(x, at_rest(2), 8)
    assert seen.dtype == torch.float32
    assert torch.equal(seen, sample(x, at_rest(2), 8))  # to the bit: the same operations in fp32


@pytest.mark.parametrize("temporal_filter", ["gaussian", "linear"])
def test_location_and_scale_have_gradients(temporal_filter: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 7, 8, dtype=torch.float64)
    place = [torch.rand(1, 3), torch.rand(1, 3, 4), torch.rand(1, 3, 5)]
    inputs = [(p.double() * 3 + 0.7).requires_grad_() for p in place]
    assert torch.autograd.gradcheck(lambda t, r, c: apply_filters(x, t, r, c, temporal_filter), inputs)


def test_a_new_locator_looks_at_the_middle_and_space_hears_of_time() -> None:
    torch.manual_seed(0)
    locator = Locator(16, 10, (2, 3, 3), 4)
    synopsis, likely = torch.randn(32, 16, 2, 3, 3), torch.zeros(32, 10)
    time, space = locator(synopsis, likely)
    assert time.shape == (32, 2)
    assert space.shape == (32, 4, 4)
    for theta in (time, space):
        assert theta.mean().abs() < 0.1
        assert theta.std() < 0.5
    likely[0, 3] = 1
    assert not torch.equal(locator.eval()(synopsis, likely).time[0], locator(synopsis, 0 * likely).time[0])
    with torch.no_grad():
        locator.time.weight.mul_(50)
    # Weights of fifty times the size change what is seen by far more than 1e-5 of it; fp32 rounds by 1e-7 a term.
    assert not torch.allclose(locator(synopsis, likely).space, space)
