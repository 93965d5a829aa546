"""The recipe for few videos: mixup and CutMix, AdamW, averages; a pure function of (seed, step).

Runs are compared to the bit: the same code on the same bytes, which a checkpoint keeps.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from small import ARCH, SPACE, recipe, train
from stopping import StopAt

from autovid.cli.training import plain_experiment
from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError
from autovid.layers.regularisers import Mixing
from autovid.models import NetworkSpec, build
from autovid.run import Interrupted, RunDirectory
from autovid.run.task import seed_step
from autovid.train import make_recipe, open_trained
from autovid.train.optimizer import make_optimizer
from autovid.train.plan import make_plan
from autovid.train.recipe import Freeze
from autovid.train.task import prepare

SMALL = {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "ema": 0.9, "optimizer": "adamw", "balance": True}


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of one value each, the number of their class."""
    x = torch.arange(8.0)[:, None, None, None, None].expand(8, 3, 2, 10, 10)
    return x.contiguous(memory_format=torch.channels_last_3d), torch.eye(8)


def test_mixup_blends_whole_clips_and_cutmix_boxes_as_their_targets_say() -> None:
    """A clip's mean is that of its targets. Sums of 200 fp32 numbers below 8 are right to 1e-5; 1e-4 is above that."""
    numbers = torch.arange(8.0)
    kinds = set()
    for step in range(12):
        seed_step(0, step)
        x, y = Mixing(0.4, 1.0)(*batch())
        assert torch.allclose(x.mean((1, 2, 3, 4)), y @ numbers, rtol=0, atol=1e-4)
        assert x.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.allclose(y.sum(1), torch.ones(8))  # of two numbers: one rounding
        whole = bool((x.flatten(1).amax(1) - x.flatten(1).amin(1)).max() == 0)
        kinds.add("mixup" if whole else "cutmix")
    assert kinds == {"mixup", "cutmix"}


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_the_blend_is_a_function_of_seed_and_step(mixup: float, cutmix: float) -> None:
    def blended(seed: int, step: int) -> torch.Tensor:
        seed_step(seed, step)
        return Mixing(mixup, cutmix)(*batch())[0]

    first = blended(1, 5)
    blended(1, 6)
    assert torch.equal(first, blended(1, 5))
    assert not torch.equal(first, blended(2, 5))


@pytest.mark.slow
def test_it_stops_and_resumes_bit_for_bit(videos: VideoSet, tmp_path: Path) -> None:
    chosen = recipe(**{"epochs": 1, **SMALL})
    train(tmp_path / "whole", videos, recipe=chosen)
    with pytest.raises(Interrupted):
        train(tmp_path / "halves", videos, recipe=chosen, progress=StopAt(2))
    train(tmp_path / "halves", videos, recipe=chosen, resume=True)
    one, two = (RunDirectory.open(tmp_path / name).load(3).state for name in ("whole", "halves"))
    assert all(torch.equal(value, two.model[name]) for name, value in one.model.items())
    assert any(not torch.equal(value, one.optim["weights"][name]) for name, value in one.model.items())
    trained = open_trained(tmp_path / "whole", "cpu", which="last")
    assert trained.recipe == chosen
    assert all(torch.equal(value, one.model[name]) for name, value in trained.net.state_dict().items())


def test_adamw_decays_weights_by_its_rate_alone() -> None:
    """The first step moves a weight by lr against its gradient's sign, after it was scaled by 1 - lr * decay.

    In fp32, where weights of about 0.1 are right to 1e-8: 1e-6 is above the rounding and far below lr.
    """
    net = build("tsn_resnet18", 12, frames=1, crop=32)
    optimizer = make_optimizer(net, recipe(optimizer="adamw", weight_decay=0.1, lr=0.01, momentum=0.8))
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    weight = net.get_parameter("classifier.weight")
    before = weight.detach().clone()
    weight.grad = torch.where(before > 0, 1.0, -1.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    assert torch.allclose(weight, before * (1 - 0.001) - 0.01 * weight.grad, rtol=0, atol=1e-6)


def test_the_recipe_by_name() -> None:
    small = make_recipe(SPACE, name="small")
    assert (small.batch, small.optimizer, small.lr, small.weight_decay) == (16, "adamw", 6e-3, 0.05)
    assert min(small.label_smoothing, small.ema or 0) > 0 == small.mixup == small.cutmix
    assert make_recipe(NetworkSpec(network="tsn_resnet18", classes=3, frames=8, crop=32), name="small").lr == 1e-3
    assert make_recipe(SPACE, name="finetune", optimizer="adamw").lr == 1e-3
    assert make_recipe(SPACE, name="small", optimizer="sgd").lr == 16 * 0.4 / 256
    for name in ("full", "proxy"):
        assert set(SMALL) & set(make_recipe(SPACE, name=name).recorded()) == set()  # as before there were any


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": -0.1}, "mixup -0.1: give 0 to 10"),
        ({"cutmix": 11.0}, "cutmix 11.0: give 0 to 10"),
        ({"optimizer": "lion"}, "optimizer 'lion': choose one of sgd, adamw"),
        ({"optimizer": "adamw", "nesterov": True}, "nesterov True: give false, or optimizer: sgd"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**changes)


def test_networks_that_blend_or_lose_by_themselves_are_refused() -> None:
    with pytest.raises(ConfigError, match="the module cutmix blends clips already"):
        prepare(build("tsn_resnet18", 12, modules=["cutmix"]), recipe(mixup=0.2))
    with pytest.raises(ConfigError, match="mixup and cutmix: this network has a loss of its own"):
        prepare(build("s2dnet", 12), recipe(cutmix=1.0))


def test_the_plan_says_it(videos: VideoSet) -> None:
    chosen = make_recipe(SPACE, name="small", mixup=0.2, cutmix=1.0, balance=True, freeze=Freeze(("body",), 2))
    plan = make_plan(ARCH, chosen, plain_experiment("it", chosen), videos)
    (line,) = [one for one in plan.splitlines() if "Mix" in one]
    assert line == (
        "learning AdamW, mixup 0.2 or CutMix 1, labels smoothed by 0.1, weights averaged with decay 0.99, every class "
        "drawn alike, body at rest for 2 epochs"
    )
    plain = make_recipe(SPACE, name="proxy")
    assert "learning" not in make_plan(ARCH, plain, plain_experiment("it", plain), videos)
