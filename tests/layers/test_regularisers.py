"""RandomDrop, ShakeDrop and CutMix by equations 2 to 4 of RMS's supplement, and where `--with` puts regularisers.

Where they are equal to the bit, a gate of 1 or 0 is multiplied by, or by x = 1: such a product is exact in any format.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.layers.convolutions import Residual
from autovid.layers.regularisers import (
    AverageFilter,
    CutMix,
    GaussianFilter,
    RandomDrop,
    RandomMeanScaling,
    ShakeDrop,
    box,
    survival_rates,
)
from autovid.models import Network, build
from autovid.models.network import DoesNotFit


def small(modules: dict[str, dict[str, object]]) -> Network:
    return build("tsn_resnet50", 5, frames=2, crop=32, modules=modules)


def filled(net: Network) -> list[Residual]:
    return [block for block in net.blocks() if not isinstance(block.leave, nn.Identity)]


def test_survival_falls_linearly_to_a_half() -> None:
    assert survival_rates(4, 0.5) == [0.875, 0.75, 0.625, 0.5]


@pytest.mark.parametrize("drop", [RandomDrop(0.7), ShakeDrop(0.7)], ids=["random", "shake"])
def test_all_or_nothing_in_training_and_the_mean_in_test(drop: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 2, 2)
    kept = 0
    for _ in range(1000):
        y = drop(x)
        kept += (whole := torch.equal(y, x))
        assert whole or torch.equal(y, torch.zeros_like(x))  # never rescaled, one gate for the batch
    assert abs(kept / 1000 - 0.7) < 5 * (0.7 * 0.3 / 1000) ** 0.5
    assert torch.allclose(drop.eval()(x), 0.7 * x)  # one product


def test_gradient_of_random_drop_is_its_gate() -> None:
    torch.manual_seed(1)
    drop, seen = RandomDrop(0.5), set()
    for _ in range(50):
        x = torch.ones(2, 1, 1, 2, 2, requires_grad=True)
        y = drop(x)
        y.sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, y.detach())
        seen.add(y.sum().item())
    assert seen == {0.0, 8.0}


@pytest.mark.parametrize("level", ["batch", "pixel"])
def test_gradient_of_shake_drop_is_beta_where_the_branch_is_dropped(level: str) -> None:
    torch.manual_seed(2)
    drop = ShakeDrop(0.5, beta_max=0.5, level=level)  # type: ignore[arg-type]
    betas = []
    for _ in range(200):
        x = torch.ones(2, 3, 2, 2, 2, requires_grad=True)
        y = drop(x)
        y.sum().backward()
        assert x.grad is not None
        if y.sum() > 0:
            assert torch.equal(x.grad, torch.ones_like(x))
        else:
            assert len(x.grad.unique()) == (1 if level == "batch" else x.numel())
            betas.append(x.grad.mean().item())
    drawn = torch.tensor(betas)
    assert drawn.min() >= 0
    assert drawn.max() <= 0.5
    assert abs(drawn.mean() - 0.25) < 5 * 0.5 / (12 * len(betas)) ** 0.5


def test_box_has_its_share_of_the_picture() -> None:
    assert box([0.75, 0.5, 0.5], 16, 24) == (4, 12, 6, 18)  # a quarter: half of each side, around the centre
    assert box([0.0, 0.0, 0.999], 16, 16) == (0, 8, 7, 16)  # cut off at the border
    assert box([0.999999, 0.5, 0.5], 16, 16) == (8, 8, 8, 8)


def test_cutmix_pastes_the_same_box_in_every_frame_and_blends_labels_by_area() -> None:
    torch.manual_seed(3)
    x = torch.arange(1.0, 5).view(4, 1, 1, 1, 1).expand(4, 3, 4, 8, 10).contiguous(memory_format=torch.channels_last_3d)
    targets, blended = torch.eye(4), 0
    for _ in range(50):
        mixed, labels = CutMix()(x, targets)
        assert mixed.is_contiguous(memory_format=torch.channels_last_3d)
        assert (mixed == mixed[:, :1, :1]).all()
        # shares are multiples of 1 / 80 in float32: a few roundings of 2^-24 of numbers up to 1
        assert torch.allclose(labels.sum(1), torch.ones(4))
        for clip in range(4):
            shares = torch.stack([(mixed[clip] == other + 1).float().mean() for other in range(4)])
            assert torch.allclose(labels[clip], shares, atol=1e-6)
            blended += int(labels[clip].max() < 1)
        rows, columns = (mixed[0, 0, 0] != 1).any(1).nonzero(), (mixed[0, 0, 0] != 1).any(0).nonzero()
        assert (mixed[0, 0, 0] != 1).sum() == len(rows) * len(columns)  # a box
    assert blended > 100
    assert torch.equal(x[:, 0, 0, 0, 0], torch.arange(1.0, 5))  # the batch given is left alone


def test_cutmix_lambda_is_uniform_and_sometimes_left_out() -> None:
    torch.manual_seed(4)
    x, targets = torch.zeros(2, 3, 1, 8, 8), torch.eye(2)
    kept = sum(CutMix(0.3)(x, targets)[0] is x for _ in range(1000))
    assert abs(kept / 1000 - 0.7) < 5 * (0.7 * 0.3 / 1000) ** 0.5


def test_cutmix_reaches_the_training_loss_and_not_the_logits() -> None:
    net = small({"cutmix": {"probability": 1.0}})
    seen: list[Tensor] = []
    assert net.mix is not None
    mix = net.mix

    def spy(x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(targets)
        return mix(x, targets)

    net.mix = spy
    x = torch.randn(2, 3, 2, 32, 32)
    net.training_loss(x, torch.tensor([1, 4]))[0].backward()
    assert torch.equal(seen[0], torch.eye(5)[[1, 4]])
    net.eval()(x)
    assert len(seen) == 1


def test_rms_goes_into_res4_and_res5() -> None:
    net = small({"rms": {}})
    expected = [(4, index) for index in range(6)] + [(5, index) for index in range(3)]
    assert [(block.stage, block.index) for block in filled(net)] == expected
    places = [block.leave for block in filled(net)]
    assert all(isinstance(place, RandomMeanScaling) and isinstance(place.smooth, AverageFilter) for place in places)
    assert len(set(map(id, places))) == len(places)  # a factor of its own for every block


def test_rms_takes_its_options() -> None:
    net = small({"rms": {"filter": "gaussian", "kernel": [1, 3, 5], "range": 0.5, "stages": [2]}})
    place = filled(net)[0].leave
    assert {block.stage for block in filled(net)} == {2}
    assert isinstance(place, RandomMeanScaling)
    assert isinstance(place.smooth, GaussianFilter)
    assert (place.spread, tuple(place.smooth.taps.shape)) == (0.5, (1, 3, 5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"rms": {"kernel": 2}}, "kernel: one odd size or three"),
        ({"rms": {"kernel": [3, 3]}}, "kernel: one odd size or three"),
        ({"rms": {"filter": "median"}}, "option filter"),
        ({"rms": {"sigma": 2.0}}, "filter: gaussian"),
        ({"rms": {"stages": [6]}}, "rms does not fit tsn_resnet50: it has the stages 2, 3, 4, 5"),
        ({"rms": {"range": -1.0}}, "range must lie in 0"),
        ({"shake_drop": {"beta_max": 2.0}}, "beta_max must lie in 0 to 1, but it is 2"),
        ({"shake_drop": {"level": "clip"}}, "option level"),
        ({"cutmix": {"probability": 1.5}}, "probability must lie in 0 to 1"),
        ({"dropout": {"rate": 1.0}}, "rate must lie in 0"),
        ({"random_drop": {"rate": 0.5}}, "no option 'rate'"),
    ],
)
def test_errors_say_what_to_do(modules: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(modules)


def test_regularisers_of_one_block_stand_in_the_order_asked_for() -> None:
    net = small({"shake_drop": {"beta_max": 0.5}, "rms": {}})
    places = [block.leave for block in net.blocks()]
    # float64, a few roundings
    assert [p.survival for p in places[:2] if isinstance(p, ShakeDrop)] == pytest.approx([1 - 0.5 / 16, 1 - 1 / 16])
    last = places[-1]
    assert isinstance(last, nn.Sequential)
    assert [type(module) for module in last] == [ShakeDrop, RandomMeanScaling]
    assert isinstance(last[0], ShakeDrop)
    assert (last[0].survival, last[0].beta_max) == (0.5, 0.5)


def test_dropout_sets_the_rate() -> None:
    rates = [m.p for m in small({"dropout": {"rate": 0.3}}).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.3]


def test_a_network_without_blocks_has_no_place() -> None:
    from autovid.models.modules import attach_random_drop, attach_rms

    class Bare(Network):
        pass

    for attach in (attach_rms, attach_random_drop):
        with pytest.raises(DoesNotFit, match="no residual blocks"):
            attach(Bare())
