"""Which weights decay, and which learn at a rate of their own; schedules that begin anew."""

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from small import SPACE, recipe
from test_recipe_features import plain, task_of
from tolerance import rounding

from autovid.cli import main
from autovid.config.resources import experiments_dir
from autovid.errors import ConfigError
from autovid.models import Network, NetworkSpec, build
from autovid.train import Recipe, make_recipe
from autovid.train.experiment import load_experiment
from autovid.train.optimizer import make_optimizer
from autovid.train.recipe import Multiples
from autovid.train.task import prepare

TSM = experiments_dir() / "dnr_kinetics400_tsm.yaml"
S2DNET = experiments_dir() / "s2dnet_ssv2.yaml"


def groups(net: Network, chosen: Recipe) -> dict[str, tuple[float, float]]:
    """The rate, as a multiple, and the weight decay of every weight."""
    of = {id(p): (g["rate"], g["weight_decay"]) for g in make_optimizer(net, chosen).param_groups for p in g["params"]}
    return {name: of[id(weight)] for name, weight in net.named_parameters()}


def in_experiment(path: Path) -> Recipe:
    return load_experiment(path, ["weight_decay=0.5"]).recipe


def test_groups_are_those_of_mmaction2_for_tsm() -> None:
    """TSMOptimWrapperConstructor with fc_lr5: what it does to weights, biases, norms and the last layer."""
    grouped = groups(build("tsm_resnet18", 12, frames=4, crop=32, modules=["dnr"]), in_experiment(TSM))
    assert grouped["stem.0.weight"] == (1, 0.5)
    assert grouped["stem.1.weight"] == grouped["stem.1.bias"] == (1, 0)
    assert grouped["stages.0.0.conv1.weight"] == (1, 0.5)
    assert grouped["stages.0.0.norm1.shared.cell.read.0.weight"] == (1, 0.5)  # DNR's LSTM, of linear layers
    assert grouped["stages.0.0.norm1.shared.cell.read.0.bias"] == (2, 0)
    assert grouped["classifier.weight"] == (5, 0.5)
    assert grouped["classifier.bias"] == (10, 0)


@pytest.mark.parametrize("name", ["s2dnet", "s2dnet_x3d"])
def test_groups_are_those_of_the_authors_for_s2dnet(name: str) -> None:
    """Linear layers at 5 x, their biases at 10 x, the sampler at a tenth, biases and norms of it as well."""
    grouped = groups(build(name, 7, frames=12, crop=32), in_experiment(S2DNET))
    last = "classifier" if name == "s2dnet" else "sites.classifier.output"
    for layer in (f"synopsis.{last}", f"detail.{last}", "context"):
        assert (grouped[f"{layer}.weight"], grouped[f"{layer}.bias"]) == ((5, 0.5), (10, 0))
    assert {grouped[f"locator.{layer}.weight"] for layer in ("reduce", "hidden.0", "time", "space")} == {(0.1, 0.5)}
    assert {grouped[f"locator.{layer}.bias"] for layer in ("reduce", "norm", "hidden.0", "hidden.1")} == {(0.1, 0)}
    rest = {name: at for name, at in grouped.items() if not name.startswith(("locator", "context"))}
    assert {at for name, at in rest.items() if name.endswith("weight") and last not in name} == {(1, 0.5), (1, 0)}


def test_a_step_is_as_long_as_the_group_says() -> None:
    """The same gradients, hence the same steps but for the multiples.

    A weight is a sum of three terms in fp32, of three operations each at most: no more than their sizes lose.
    """
    net = plain()
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    chosen: dict[str, Any] = {"lr_multiples": Multiples(biases=2), "bias_decay": False, "weight_decay": 0.5}
    task = task_of(net, lr=0.1, momentum=0.0, **chosen)
    lr = task.step(0)["lr"]
    for name, weight in net.named_parameters():
        assert weight.grad is not None
        bias = name.endswith("bias")
        rate, decay = (2 * lr, 0.0) if bias else (lr, 0.5)
        expected = before[name] - rate * (weight.grad + decay * before[name])
        most = rounding(9) * (before[name].abs() + rate * (weight.grad.abs() + decay * before[name].abs()))
        assert ((weight.detach() - expected).abs() <= most).all(), name


def test_a_recipe_that_sets_nothing_apart_has_the_groups_that_older_runs_have_saved() -> None:
    """Two of them, weights and norms, without multiples: such a run goes on."""
    old, new = task_of(plain(), lr=0.1), task_of(plain(), lr=0.1)
    assert [len(group["params"]) for group in old.optimizer.param_groups] == [4, 0]
    old.step(0)
    state = copy.deepcopy(old.state())  # as from a file
    for group in state.optim["sgd"]["param_groups"]:
        del group["rate"]
    new.load(state)
    assert new.step(1) == old.step(1)
    # To the bit: the same code on the same bytes, which the state keeps.
    assert all(torch.equal(a, b) for a, b in zip(old.net.parameters(), new.net.parameters()))


@pytest.mark.parametrize("part", ["classifier", "context", "sampler"])
def test_a_part_that_the_network_lacks_is_said(part: str) -> None:
    with pytest.raises(ConfigError, match=rf"lr_multiples.{part}: this network has no {part}; leave it out"):
        prepare(plain(), recipe(lr_multiples=Multiples(**{part: 0.1})))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr_multiples.clasifier=5", "clasifier"),
        ("lr_multiples.sampler=0", "lr multiples .*finite numbers above 0"),
        ("lr_multiples.biases=two", "biases"),
    ],
)
def test_a_wrong_multiple_is_refused_where_it_is_given(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"lr_multiples.*{message}"):
        load_experiment(S2DNET, [setting])


def test_an_experiment_changes_one_multiple_of_its_base() -> None:
    assert in_experiment(TSM).lr_multiples == Multiples(biases=2, classifier=5)
    tdn = in_experiment(experiments_dir() / "dnr_kinetics400_tdn.yaml")
    assert tdn.lr_multiples == Multiples(biases=2)


def test_multiples_are_recorded_and_read_again() -> None:
    chosen = recipe(lr_multiples=Multiples(sampler=0.1), bias_decay=False)
    assert chosen.recorded() == {**recipe().recorded(), "lr_multiples": {"sampler": 0.1}, "bias_decay": False}
    assert msgspec.convert(chosen.recorded(), Recipe) == chosen


def test_the_plan_says_what_learns_at_another_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(S2DNET), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "linear warm-up of 5 epochs, then half a cosine from 0.001, anew after epoch 40\n" in shown
    assert "\n         biases 2 x, classifier 5 x, context 5 x, sampler 0.1 x the rate\n" in shown


BY_CODE: dict[str, dict[str, Any]] = {  # of MMAction2, of TDN's authors and of S2DNet's
    "dnr_kinetics400_tsm": {"lr": 0.01, "nesterov": False, "max_norm": 20, "milestones": (20, 40)},
    "dnr_kinetics400_tanet": {"lr": 0.01, "nesterov": False, "milestones": (50, 75, 90)},
    "dnr_kinetics400_tdn": {"lr": 0.01, "nesterov": False, "milestones": (50, 75, 90)},
    "s2dnet_ssv2": {"epochs": 120, "restarts": (40,), "warmup": 5, "max_norm": 20, "sync_norm": True},
    "s2dnet_mini_kinetics_d4": {"epochs": 120, "restarts": (40,), "warmup": 5, "max_norm": 20, "sync_norm": True},
    "s2dnet_kinetics400": {"epochs": 150, "restarts": (50,), "warmup": 5, "max_norm": 20, "sync_norm": True},
}


@pytest.mark.parametrize("name", BY_CODE)
def test_values_that_papers_leave_out_are_those_of_code(name: str) -> None:
    recipe = load_experiment(experiments_dir() / f"{name}.yaml").recipe
    assert {key: getattr(recipe, key) for key in BY_CODE[name]} == BY_CODE[name]
    assert (recipe.norm_decay, recipe.bias_decay, recipe.lr_multiples.biases) == (False, False, 2)


def test_the_sampler_stops_resting_where_the_schedule_begins_anew() -> None:
    for name in ("s2dnet_ssv2", "s2dnet_kinetics400"):
        experiment = load_experiment(experiments_dir() / f"{name}.yaml")
        assert isinstance(experiment.model, NetworkSpec)
        assert experiment.model.options["stage_one"] == experiment.recipe.restarts[0] / experiment.recipe.epochs


# -- restarts


def test_after_a_restart_the_schedule_is_that_of_a_training_of_its_own() -> None:
    """S2DNet's 40 and 80 epochs; equal to the bit, as the same function of the same whole numbers of steps."""
    lengths = (40, 80)
    both = make_recipe(SPACE, epochs=120, lr=0.001, warmup=5, restarts=(40,))
    rates = [both.lr_at(step, 1200) for step in range(1200)]
    apart = [make_recipe(SPACE, epochs=length, lr=0.001, warmup=5) for length in lengths]
    assert rates == [one.lr_at(step, 10 * n) for one, n in zip(apart, lengths) for step in range(10 * n)]
    assert rates[399] < 1e-7 < rates[400]
    assert rates[50] == rates[450] == 0.001


@pytest.mark.parametrize(
    "wrong",
    [
        {"restarts": (300,)},
        {"restarts": (0,)},
        {"restarts": (100, 80)},
        {"restarts": (30,)},  # the warm-up has 34 epochs
        {"restarts": (290,)},
        {"restarts": (100,), "warmup": 0, "warmup_steps": 10},
        {"restarts": (100,), "schedule": "multi_step", "milestones": (200,)},
        {"restarts": (100,), "schedule": "cosine_by_epoch"},
    ],
)
def test_impossible_restarts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="^restarts .*: give rising epochs inside the 300 of training"):
        make_recipe(SPACE, **wrong)
