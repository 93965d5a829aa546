"""What a recipe may ask for: schedules by hand and by torch, accumulation, clipping, averages, statistics.

Learning rates are Python's floats: a few operations of 1e-16 each, which torch's schedules repeat at every step; the
default of approx, 1e-6 relative, is far above both. Networks compute in float64, but for the loss, which is fp32.
"""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from small import ARCH, SPACE, recipe, train
from stopping import StopAt
from tolerance import DEEP, rounding
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR
from torch.optim.swa_utils import update_bn

from autovid.blocks.elastic import ElasticBatchNorm
from autovid.data import Batch, VideoSet, open_videos
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.models import Network, build
from autovid.run import Interrupted, RunDirectory
from autovid.train import Recipe, make_recipe, open_trained
from autovid.train.optimizer import make_optimizer
from autovid.train.recipe import Multiples, RecipeError
from autovid.train.task import TrainingTask, prepare


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


# -- schedules


def rates(steps: int, **changes: Any) -> list[float]:
    chosen = make_recipe(SPACE, **changes)
    return [chosen.lr_at(step, steps) for step in range(steps)]


def of_torch(steps: int, make: Any, lr: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


def test_multi_step_multiplies_at_its_milestones() -> None:
    """Table 5 of Chen et al. (2021, arXiv:2010.11757): 35 epochs, a tenth at the 10th, 20th and 30th."""
    rates_by_step = rates(350, epochs=35, lr=0.01, warmup=0, schedule="multi_step", milestones=(10, 20, 30))
    assert rates_by_step == pytest.approx([0.01] * 100 + [0.001] * 100 + [1e-4] * 100 + [1e-5] * 50)
    assert rates_by_step == pytest.approx(of_torch(350, lambda sgd: MultiStepLR(sgd, [100, 200, 300], 0.1), 0.01))


def test_warm_up_from_a_share_of_the_rate_then_a_cosine() -> None:
    """Section 4.2 of Chen et al. (2021, arXiv:2010.11757): from 0.01 to 1.6 in 34 of 196 epochs."""
    rates_by_step = rates(1960, epochs=196, lr=1.6, warmup=34, warmup_start=0.00625)
    assert rates_by_step[0] == pytest.approx(0.01)
    assert rates_by_step[170] == pytest.approx(0.805)
    assert rates_by_step[340] == 1.6
    assert rates_by_step[1150] == pytest.approx(0.8)

    def same(sgd: torch.optim.Optimizer) -> SequentialLR:
        return SequentialLR(sgd, [LinearLR(sgd, 0.00625, total_iters=340), CosineAnnealingLR(sgd, 1620)], [340])

    assert rates_by_step == pytest.approx(of_torch(1960, same, 1.6), abs=1e-9)


def test_warm_up_counted_in_steps() -> None:
    """Cai et al. (NeurIPS 2021), supplement, B: a ratio of 0.01 over the first iterations."""
    rates_by_step = rates(1000, epochs=120, lr=0.1, warmup=0, warmup_steps=100, warmup_start=0.01)
    assert rates_by_step[:101:50] == pytest.approx([0.001, 0.0505, 0.1])
    assert rates_by_step[550] == pytest.approx(0.05)


def test_mmcvs_cosine_has_one_value_an_epoch_and_runs_during_the_warm_up() -> None:
    """Kinetics-200 is at 0.065 when 60,000 steps of warm-up are over.

    Cai et al. (NeurIPS 2021), supplement, B, and the authors' configuration.
    """
    chosen = make_recipe(
        SPACE, epochs=120, lr=0.1, warmup=0, warmup_steps=60_000, warmup_start=0.01, schedule="cosine_by_epoch"
    )
    at = {step: chosen.lr_at(step, 150_000) for step in (0, 30_000, 59_999, 60_000, 61_249, 61_250, 149_999)}
    # float64 and a dozen operations: 1e-12 is a thousand times their rounding, and far below any difference of recipe.
    by_hand = {epoch: 0.05 * (1 + math.cos(math.pi * epoch / 120)) for epoch in (24, 47, 48, 49, 119)}
    assert at[0] == pytest.approx(0.001, rel=1e-12)
    assert at[30_000] == pytest.approx(by_hand[24] * 0.505, rel=1e-12)
    assert at[59_999] == pytest.approx(by_hand[47] * (1 - 0.99 / 60_000), rel=1e-12)
    assert at[60_000] == at[61_249] == pytest.approx(by_hand[48], rel=1e-12)
    assert round(at[60_000], 3) == 0.065
    assert at[61_250] == pytest.approx(by_hand[49], rel=1e-12)
    assert at[149_999] == pytest.approx(by_hand[119], rel=1e-12)


# -- one step


class Clips:
    """A loader of random clips, batch i the same each time."""

    def __init__(self, batch: int = 4) -> None:
        self.batch = batch

    def batches(self, first: int, last: int) -> Any:
        for step in range(first, last):
            rng = torch.Generator().manual_seed(step)
            x = torch.randn(self.batch, 3, 8, 24, 24, generator=rng)
            yield Batch(x, torch.randint(12, (self.batch,), generator=rng), torch.arange(self.batch))


def task_of(net: Network, steps: int = 3, **changes: Any) -> TrainingTask:
    return TrainingTask(net, Clips(), recipe(batch=4, **changes), Compute("cpu", "fp32"), steps, {})  # type: ignore[arg-type]


class Plain(Network):
    """A network without norms and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = 12
        self.conv, self.head = nn.Conv3d(3, 4, 3, 2), nn.Linear(4, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(x.double()).relu().mean((2, 3, 4)))
        return logits


def plain() -> Plain:
    torch.manual_seed(0)
    return Plain().double()


def test_accumulating_parts_of_a_batch_equals_the_whole_without_norms() -> None:
    """Two convolutions may round otherwise in float64, and so a logit in fp32: 2**-24 of its gradient, of size 1."""
    whole, parts = task_of(plain()), task_of(plain(), accumulate=2)
    for index in range(3):
        one, two = whole.step(index), parts.step(index)
        assert two == pytest.approx(one, rel=rounding(16))  # the loss: of 12 classes and 4 clips
    for a, b in zip(whole.net.parameters(), parts.net.parameters()):
        assert torch.allclose(a, b, rtol=0, atol=rounding(3))  # three steps at a rate far below 1


def test_parts_of_a_batch_are_seen_apart() -> None:
    net, sizes = plain(), []
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    task_of(net, accumulate=4).step(0)
    assert sizes == [1, 1, 1, 1]


def test_a_long_gradient_is_scaled_down_to_the_norm_asked_for() -> None:
    free, clipped = task_of(plain(), lr=0.1), task_of(plain(), lr=0.1, max_norm=0.01)
    before = [p.detach().clone() for p in free.net.parameters()]
    norm = free.step(0)["grad_norm"]
    assert clipped.step(0)["grad_norm"] == norm  # the same code on the same bytes
    assert norm > 0.01
    for start, a, b in zip(before, free.net.parameters(), clipped.net.parameters()):
        decay = 5e-5 * start  # is no part of the gradient that is clipped
        lr = free.recipe.lr_at(0, 3)
        share = 0.01 / (norm + 1e-6)  # torch's own guard against 0
        assert torch.allclose((start - b) / lr - decay, ((start - a) / lr - decay) * share, rtol=1e-9, atol=1e-12)


def test_a_short_gradient_stays_as_it_is() -> None:
    free, clipped = task_of(plain()), task_of(plain(), max_norm=1e6)
    free.step(0), clipped.step(0)
    # The same code on the same bytes, and a product with 1.
    assert all(torch.equal(a, b) for a, b in zip(free.net.parameters(), clipped.net.parameters()))


def test_label_smoothing_mixes_the_mean_over_classes_into_the_loss() -> None:
    chosen = recipe(label_smoothing=0.1)
    net = prepare(plain(), chosen)
    batch = next(iter(Clips().batches(0, 1)))
    loss, logits = net.training_loss(batch.x, batch.y)
    logp = logits.log_softmax(1)
    by_hand = -(0.9 * logp[torch.arange(4), batch.y] + 0.1 * logp.mean(1)).mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=rounding(16))  # of 12 classes and 4 clips


def test_the_average_of_the_weights_is_the_exponential_one() -> None:
    """Its decay rises by (1 + n) / (10 + n) after n steps: 2 / 11, then what the recipe says where that is less."""
    task = task_of(plain(), ema=0.2)
    history = []
    for index in range(3):
        task.step(index)
        history.append({name: value.clone() for name, value in task.net.state_dict().items()})
    for name, value in task.evaluated.state_dict().items():
        second = 2 / 11 * history[0][name] + 9 / 11 * history[1][name]
        by_hand = 0.2 * second + 0.8 * history[2][name]
        assert torch.allclose(value, by_hand, rtol=0, atol=1e-15)  # three products of numbers below 1, in float64


def test_statistics_taken_anew_are_those_of_torch() -> None:
    net = build("tsn_resnet18", 12, frames=8, crop=24).double()
    net.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    task = task_of(net, steps=1, precise_norm=3)
    task.step(0)
    statistics = {name: value.clone() for name, value in net.state_dict().items() if "running" in name}
    update_bn([batch.x for batch in Clips().batches(1, 4)], net.train())
    for name, value in statistics.items():
        assert torch.allclose(value, net.state_dict()[name], rtol=DEEP, atol=DEEP)
    assert {module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm3d)} == {0.1}


def test_weight_decay_takes_in_norms_where_the_recipe_says_so() -> None:
    net = build(ARCH, 12)
    optimizer = make_optimizer(net, recipe(weight_decay=0.5, norm_decay=True, nesterov=True))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.5}
    assert all(group["nesterov"] for group in optimizer.param_groups)
    assert any(isinstance(module, ElasticBatchNorm) for module in net.modules())


def test_what_a_network_cannot_take_is_said() -> None:
    with pytest.raises(ConfigError, match="label_smoothing: .*loss of its own"):
        prepare(build("s2dnet", 12), recipe(label_smoothing=0.1))
    with pytest.raises(ConfigError, match="precise_norm: .*DynamicNorm"):
        prepare(build("tsn_resnet18", 12, modules=["dnr"]), recipe(precise_norm=2))


def test_a_warm_up_that_would_never_end_is_refused_before_anything_starts(videos: VideoSet, tmp_path: Path) -> None:
    """Printed numbers of steps are for the papers' data sets; somebody's own may be a hundredth of one."""
    steps = recipe().steps(len(videos.train))
    recipe(warmup=0.0, warmup_steps=steps - 1).check_length(steps)
    with pytest.raises(ConfigError, match=f"warmup steps {steps}: the whole training has {steps}; give fewer"):
        train(tmp_path / "run", videos, recipe=recipe(warmup=0.0, warmup_steps=steps))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("milestones", {"milestones": (10,)}),
        ("milestones", {"schedule": "multi_step"}),
        ("milestones", {"schedule": "multi_step", "milestones": (20, 10)}),
        ("milestones", {"schedule": "multi_step", "milestones": (10, 300)}),
        ("factor", {"factor": 0.0}),
        ("warmup_start", {"warmup_start": 1.5}),
        ("warmup_steps", {"warmup_steps": 10}),
        ("momentum", {"momentum": 1.0}),
        ("nesterov", {"nesterov": True, "momentum": 0.0}),
        ("accumulate", {"accumulate": 3}),
        ("max_norm", {"max_norm": 0.0}),
        ("label_smoothing", {"label_smoothing": 1.0}),
        ("ema", {"ema": 1.0}),
        ("area", {"area": (0.75, 0.15)}),
        ("color_jitter", {"color_jitter": -0.1}),
        ("lighting", {"lighting": float("nan")}),
        ("crops", {"crops": "five"}),
        ("schedule", {"schedule": "linear"}),
    ],
)
def test_impossible_values_are_refused_by_name(key: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{key.replace('_', ' ')} ") as caught:
        make_recipe(SPACE, **wrong)
    assert isinstance(caught.value, RecipeError)
    assert caught.value.key == key


# -- whole runs


EVERYTHING: dict[str, Any] = {
    "schedule": "multi_step",
    "milestones": (1.0,),
    "warmup_start": 0.1,
    "accumulate": 2,
    "max_norm": 1.0,
    "label_smoothing": 0.1,
    "ema": 0.5,
    "precise_norm": 2,
    "norm_decay": True,
    "bias_decay": False,
    "lr_multiples": Multiples(biases=2, classifier=5),
    "nesterov": True,
    "crops": "area",
    "color_jitter": 0.4,
    "lighting": 0.1,
    "sampling": "uniform",
}


def test_stopped_and_resumed_it_is_the_same_bit_for_bit(videos: VideoSet, tmp_path: Path) -> None:
    chosen = recipe(**{**EVERYTHING, "epochs": 1.5})
    train(tmp_path / "whole", videos, recipe=chosen)
    with pytest.raises(Interrupted):
        train(tmp_path / "halves", videos, recipe=chosen, progress=StopAt(2))
    train(tmp_path / "halves", videos, recipe=chosen, resume=True)
    states = [RunDirectory.open(tmp_path / name).latest() for name in ("whole", "halves")]
    one, two = (checkpoint.state for checkpoint in states if checkpoint is not None)
    # The same code on the same bytes, which a checkpoint keeps.
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    assert all(torch.equal(value, two.optim["weights"][name]) for name, value in one.optim["weights"].items())
    assert any(not torch.equal(value, one.optim["weights"][name]) for name, value in one.model.items())
    trained = open_trained(tmp_path / "halves", "cpu", which="last")
    assert trained.recipe == chosen
    assert all(torch.equal(value, one.model[name]) for name, value in trained.net.state_dict().items())


def test_a_run_from_before_is_the_same_recipe() -> None:
    """config.yaml names only what differs in fields that are new, and the rest as ever."""
    plain_one, other = recipe(), recipe(max_norm=40.0)
    old = [field.name for field in msgspec.structs.fields(Recipe)]
    assert list(plain_one.recorded()) == old[: old.index("sampling")]
    assert other.recorded() == {**plain_one.recorded(), "max_norm": 40.0}
    assert msgspec.convert(other.recorded(), Recipe) == other


def test_weights_that_rest_at_first_move_later() -> None:
    """As S2DNet's sampler does, and branches that are dropped at random."""
    net = plain()
    task = task_of(net, lr=0.1, weight_decay=0.0)
    net.conv.requires_grad_(False)
    task.step(0)
    net.conv.requires_grad_(True)
    before = net.conv.weight.detach().clone()
    lr = task.step(1)["lr"]
    assert net.conv.weight.grad is not None
    assert torch.allclose(net.conv.weight, before - lr * net.conv.weight.grad, rtol=0, atol=1e-15)  # float64
