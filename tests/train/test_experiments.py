"""Every experiment that comes with autovid: its plan, and two steps of it at a reduced size.

One that changes another is read in the suite; the thorough tests plan it and train it.
"""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autovid.cli import main
from autovid.config import read_layers
from autovid.config.resources import experiments_dir
from autovid.data import VideoSet, open_videos
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.models import Model, Network, NetworkSpec, build, build_network
from autovid.models.s2dnet import TSMS2DNet
from autovid.space import Architecture, SearchSpace
from autovid.train import plan
from autovid.train.experiment import LoadedExperiment, load_experiment
from autovid.train.recipe import Recipe, check_clip
from autovid.train.task import TrainingTask, prepare
from autovid.train.train import loader_of

Plain = dict[str, Any]


def plain(path: Path) -> Plain:
    values: Plain = read_layers(path).plain().plain()
    return values


def network_of(path: Path) -> str:
    """What is built: experiments in this order share what they build."""
    values = plain(path)
    return json.dumps([values.get(key) for key in ("network", "options", "with", "space")])


FILES = sorted(experiments_dir().glob("*.yaml"), key=lambda path: (network_of(path), path.name))
OF = {command: [p for p in FILES if plain(p).get("command", "train") == command] for command in ("train", "search")}
BASELINE = experiments_dir() / "auto_tsnet_random.yaml"


def named(path: Path) -> str:
    return path.stem


def once_a_base(path: Path) -> Any:
    """An experiment that changes another is left to the thorough tests."""
    changes = "\nbase:" in path.read_text(encoding="utf-8")
    return pytest.param(path, id=path.stem, marks=[pytest.mark.thorough] if changes else [])


@pytest.fixture(scope="module", autouse=True)
def _figures_once() -> Any:
    """Networks that differ in the number of classes alone are counted once here."""
    known: dict[tuple[object, ...], plan.TrainingCost] = {}
    count = plan.training_cost

    def counted(model: Model, recipe: Recipe, classes: int) -> plan.TrainingCost:
        what = model.changed(classes=1).to_yaml() if isinstance(model, NetworkSpec) else model.hash
        key = (what, recipe.frames, recipe.crop, recipe.crops, recipe.jitter, recipe.sampling, recipe.sync_norm)
        if key not in known:
            known[key] = count(model, recipe, classes)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "training_cost", counted)
        yield


# -- plans


@pytest.mark.slow
@pytest.mark.parametrize("path", [once_a_base(path) for path in OF["train"]])
def test_its_training_is_planned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(path), "--dry-run"]) == 0
    shown, values = capsys.readouterr().out, plain(path)
    recipe, data = values["recipe"], values["dataset"]
    assert shown.startswith(values["about"])
    steps = round(recipe["epochs"] * data["train"] / recipe["batch"])
    assert f"{steps:,}: {recipe['epochs']:g} epochs of {data['train']:,} videos, {recipe['batch']} clips" in shown
    assert "GiB a worker" in shown
    assert f"{recipe['epochs']:g} epochs\n" in shown
    options = "--data, --weights" if values.get("start") else "--data"
    assert shown.endswith(f"to be given: {options}\n")


@pytest.mark.slow
@pytest.mark.parametrize("path", OF["search"], ids=named)
def test_its_search_is_planned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(path), "--dry-run"]) == 0
    shown, values = capsys.readouterr().out, plain(path)
    asked = values.get("constraints", {}).get("flops", "none asked for: what is found may cost")
    assert f"range    {asked} " in shown
    assert f", beta {values['recipe']['beta']}, cost_gradient sampled, open_prior quarter)" in shown
    assert "256 clips = 32 x 8\n" in shown
    assert "samples 13, " in shown


@pytest.mark.slow
def test_the_random_baseline_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["random-baseline", str(BASELINE), "--dry-run"]) == 0
    assert "16 architectures of 2.4" in capsys.readouterr().out


@pytest.mark.parametrize("path", OF["train"], ids=named)
def test_it_is_read_and_its_network_known(path: Path) -> None:
    experiment, recipe = load_experiment(path), plain(path)["recipe"]
    assert {key: getattr(experiment.recipe, key) for key in ("epochs", "batch")} == {
        key: recipe[key] for key in ("epochs", "batch")
    }
    assert isinstance(experiment.model, NetworkSpec | Architecture)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_it_says_where_it_is_from(path: Path) -> None:
    """A header names the paper, and the section of its supplement."""
    header = path.read_text(encoding="utf-8").partition("# Command:")[0]
    assert "(supplement, " in header or "of the supplement" in header
    assert "docs/papers.md#" in header


# -- two steps


def reduced(path: Path) -> LoadedExperiment:
    """The experiment with two small clips a step."""
    rate = min(0.01, load_experiment(path).recipe.lr)
    fixed = ["start=null", "workers=1", "precision=fp32", "batch=2", f"lr={rate}", "seed=1"]
    whole = load_experiment(path, fixed)
    model, crop = whole.model, 64 if "s2dnet" in path.name else 32
    assert isinstance(model, NetworkSpec)
    frames = next(n for n in (1, 4, 8, 10, 16, 32) if fits(model, n, crop) and (n > 1) == (whole.recipe.frames > 1))
    return load_experiment(path, [*fixed, f"frames={frames}", "stride=1", f"crop={crop}", f"jitter=[{crop}, 72]"])


def fits(model: NetworkSpec, frames: int, crop: int) -> bool:
    try:
        check_clip(model, frames, crop)
    except ConfigError:
        return False
    return True


@lru_cache(maxsize=1)
def built(yaml: str, frames: int, crop: int) -> tuple[Network, dict[str, Tensor]]:
    """The network and its fresh weights."""
    spec = load_spec(yaml)
    torch.manual_seed(0)
    net = build(spec.changed(classes=12, frames=frames, crop=crop))
    return net, {name: tensor.clone() for name, tensor in net.state_dict().items()}


def fresh(model: NetworkSpec, recipe: Recipe) -> Network:
    net, weights = built(model.changed(classes=1).to_yaml(), recipe.frames, recipe.crop)
    net.load_state_dict(weights)
    net.zero_grad()
    return prepare(net, recipe)


def load_spec(yaml: str) -> NetworkSpec:
    from autovid.config import parse_yaml

    return parse_yaml(yaml, NetworkSpec, "spec")


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


LEARN = ("auto_tsnet_s_kinetics400", "dnr_kinetics400_tsm", "resnet110_cifar100", "rms_kinetics400")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in LEARN else [pytest.mark.thorough])
        for path in OF["train"]
    ],
)
def test_two_steps_of_it_learn(path: Path, videos: VideoSet) -> None:
    experiment = reduced(path)
    recipe = experiment.recipe
    assert isinstance(experiment.model, NetworkSpec)
    net = fresh(experiment.model, recipe)
    loader = loader_of(recipe, videos, net)
    task = TrainingTask(net, loader, recipe, Compute("cpu", "fp32"), 2, {})
    before = next(net.parameters()).detach().clone()
    losses = [task.step(index)["loss"] for index in range(2)]
    assert all(map(math.isfinite, losses))
    assert not torch.equal(before, next(net.parameters()))


# -- values as printed


PRINTED: dict[str, Plain] = {
    "rms_kinetics400": {"epochs": 250, "batch": 128, "lr": 0.2, "warmup": 20, "weight_decay": 1e-4},
    "rms_kinetics400_slowfast": {"epochs": 250, "batch": 64, "lr": 0.1},
    "rms_ssv2": {"epochs": 40, "lr": 0.01, "milestones": (24, 30), "crops": "area", "area": (0.15, 0.75)},
    "rms_cifar100": {"epochs": 300, "batch": 1024, "lr": 0.2, "milestones": (150, 225), "crops": "pad"},
    "rms_imagenet": {"epochs": 300, "batch": 1024, "lr": 0.4, "warmup": 5, "schedule": "cosine", "nesterov": True},
    "rms_imagenet_cutmix": {"nesterov": True, "color_jitter": 0.4, "lighting": 0.1, "crops": "area", "area": (0.08, 1)},
    "tsn_kinetics200": {"schedule": "cosine_by_epoch", "warmup_steps": 60000},
    "tsn_kinetics400": {"schedule": "cosine_by_epoch", "warmup_steps": 128000},
    "dnr_kinetics200": {
        "schedule": "cosine_by_epoch",
        "epochs": 120,
        "lr": 0.1,
        "warmup_steps": 60000,
        "warmup_start": 0.01,
        "max_norm": 40,
    },
    "dnr_kinetics200_temporal_bi_2": {"schedule": "cosine_by_epoch"},
    "dnr_kinetics200_temporal_bi_4": {"schedule": "cosine_by_epoch"},
    "dnr_kinetics200_temporal_uni_2": {"schedule": "cosine_by_epoch"},
    "dnr_kinetics200_temporal_uni_4": {"schedule": "cosine_by_epoch"},
    "dnr_kinetics400": {
        "schedule": "cosine_by_epoch",
        "epochs": 196,
        "lr": 0.1,
        "warmup_steps": 128000,
        "crops": "multi_scale_5",
        "norm_decay": True,
    },
    "dnr_ssv1": {"epochs": 50, "lr": 0.005, "milestones": (20, 40), "weight_decay": 5e-4},
    "deep_mini_ssv2_f8": {"epochs": 75, "batch": 72, "lr": 0.01, "weight_decay": 5e-4, "schedule": "cosine"},
    "deep_mini_kinetics_f8": {"epochs": 100, "frames": 8},
    "deep_mini_kinetics_f64": {"epochs": 45, "frames": 64, "milestones": (15, 30, 40)},
    "deep_mini_mit_f16": {"epochs": 35, "frames": 16, "milestones": (10, 20, 30)},
    "deep_mini_kinetics_i3d_f64": {"batch": 36, "sync_norm": True},
    "deep_kinetics400": {"epochs": 196, "batch": 1024, "lr": 1.6, "warmup": 34, "jitter": (256, 320), "frames": 32},
    "deep_kinetics400_scratch": {"norm_decay": False, "weight_decay": 1e-4},
    "deep_mini_kinetics_f16": {"norm_decay": True},
    "deep_transfer_ucf101": {"epochs": 45, "batch": 48, "lr": 0.01, "sync_norm": True},
    "s2dnet_ssv2": {"epochs": 120, "batch": 64, "lr": 0.001, "weight_decay": 0.001},
    "s2dnet_kinetics400": {"epochs": 150, "batch": 64, "lr": 0.005},
    "auto_tsnet_s_kinetics400": {"epochs": 300, "batch": 256, "lr": 0.4, "crop": 160, "jitter": (182, 228)},
    "auto_tsnet_l_kinetics400": {"epochs": 256, "crop": 312, "jitter": (356, 446), "augment": "auto"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_values_are_those_of_the_seed(name: str) -> None:
    experiment = load_experiment(experiments_dir() / f"{name}.yaml")
    assert not isinstance(experiment.model, SearchSpace)
    assert {key: getattr(experiment.recipe, key) for key in PRINTED[name]} == PRINTED[name]


@pytest.mark.parametrize(
    ("row", "after", "classifier"),
    [("", [3, 4], True), ("_d1", [3, 4], False), ("_d2", [], True), ("_d3", [4], True), ("_d4", [2, 3, 4], True)],
)
def test_rows_of_s2dnets_table_2_fuse_the_context_where_it_says(row: str, after: list[int], classifier: bool) -> None:
    """Supplement, Table 2; d0 is the experiment without a letter."""
    spec = load_experiment(experiments_dir() / f"s2dnet_mini_kinetics{row}.yaml").model
    assert isinstance(spec, NetworkSpec)
    net = build_network(spec, "meta")
    assert isinstance(net, TSMS2DNet)
    assert [int(name.removeprefix("res")) for name in net.fusions] == after
    assert net.fuse_in_classifier is classifier


def test_the_header_of_the_search_names_what_the_paper_is_silent_about() -> None:
    text = (experiments_dir() / "auto_tsnet_search.yaml").read_text(encoding="utf-8")
    ours = " ".join(text.split("# Ours: ")[1].split("# Paper: ")[0].replace("#", " ").split())
    for silence in (
        "Kinetics-100 is the only set printed for a search",
        "weight decay on all weights, batch norms among them (in training: none on those)",
        "a last batch norm of each block that begins at zero, a classifier drawn from N(0, 0.01)",
    ):
        assert silence in ours


@pytest.mark.parametrize("name", ["dnr_ssv1", "dnr_ssv2", "resnet50_imagenet_300", "rms_imagenet_shake_drop"])
def test_centre_crops_of_224_are_cut_at_a_short_side_of_256(name: str) -> None:
    """MMAction2's pipeline of TSM on Something-Something, and CutMix's code on ImageNet."""
    experiment = load_experiment(experiments_dir() / f"{name}.yaml")
    assert (experiment.experiment.views, experiment.recipe.crop) == (("center@256",), 224)
    with pytest.raises(ConfigError, match="views: .*does not fit into a short side of 200"):
        load_experiment(experiment.path, ["views=[center@200]"])


def test_baselines_of_rms_start_without_zero_gamma_and_their_laterals_have_no_norms() -> None:
    """Kim et al. (CVPR 2020), supplement, B.1: what their networks do not share with the official code."""
    specs = [load_experiment(path).model for path in FILES if path.stem.startswith(("rms_", "slow"))]
    video = [spec for spec in specs if isinstance(spec, NetworkSpec) and spec.network.startswith(("slow", "csn"))]
    assert len(video) == 15
    assert all(spec.options["zero_gamma"] is False for spec in video)
    assert [spec.options["lateral_norm"] for spec in video if spec.network.startswith("slowfast")] == [False] * 4


def test_warm_up_starts_where_it_is_printed() -> None:
    """RMS from 0.1 to 0.2, Deep Analysis from 0.01 to 1.6, DNR from a hundredth: a few of Python's floats."""
    for name, rate in (("rms_kinetics400", 0.1), ("deep_kinetics400", 0.01), ("dnr_kinetics400", 0.001)):
        assert load_experiment(experiments_dir() / f"{name}.yaml").recipe.lr_at(0, 10**6) == pytest.approx(rate)


@pytest.mark.parametrize("name", ["tsn_kinetics200", "dnr_kinetics200", "dnr_kinetics200_temporal_uni_4"])
def test_dnrs_rate_is_0_065_when_its_warm_up_is_over(name: str) -> None:
    """80,000 videos, 120 epochs, 64 clips a step: 60,000 of 150,000 steps are 48 epochs of its cosine."""
    experiment = load_experiment(experiments_dir() / f"{name}.yaml")
    steps = experiment.recipe.steps(experiment.experiment.dataset.train)
    assert steps == 150_000
    assert round(experiment.recipe.lr_at(60_000, steps), 3) == 0.065
