import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ARCH, recipe, train
from stopping import StopAt
from tolerance import rounding

from autovid.blocks.elastic import ElasticBatchNorm
from autovid.costs.count import count
from autovid.data import Batch, VideoSet, open_videos
from autovid.errors import ConfigError, DataError, DivergedError, RunError
from autovid.kernels.compute import Compute, Precision
from autovid.models import build
from autovid.run import Interrupted, RunDirectory, TaskState
from autovid.space import load_architecture
from autovid.space.schema import Reference
from autovid.train import as_trained, evaluate, open_trained
from autovid.train.evaluate import read_evaluation
from autovid.train.optimizer import make_optimizer
from autovid.train.task import TrainingTask


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture(scope="module")
def whole(videos: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training of six steps."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out, videos)
    return out


def final(path: Path) -> TaskState:
    latest = RunDirectory.open(path).latest()
    assert latest is not None
    return latest.state


def log(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of nested dicts and lists, by their path."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path: tensor for key, item in items for path, tensor in tensors(item, f"{name}.{key}").items()}


def same(a: TaskState, b: TaskState) -> bool:
    """Weights, statistics and momentum, bit for bit: the same code on the same bytes, which a checkpoint keeps."""
    mine, theirs = ({**tensors(state.model), **tensors(state.optim)} for state in (a, b))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.slow
def test_training_lowers_the_loss(videos: VideoSet, tmp_path: Path) -> None:
    """On four videos of four classes, which it can learn by heart."""
    few = VideoSet("few", videos.root, videos.classes, videos.train[::6], videos.val)
    train(tmp_path / "run", few, recipe=recipe(epochs=25, batch=4))
    losses = [record["loss"] for record in log(tmp_path / "run")]
    assert sum(losses[-5:]) / 5 < 0.5 * sum(losses[:5]) / 5


@pytest.mark.parametrize("step", [1, 4])
def test_stopped_and_resumed_it_is_the_same_bit_for_bit(
    videos: VideoSet, whole: Path, tmp_path: Path, step: int
) -> None:
    with pytest.raises(Interrupted, match="Go on with: autovid train X --resume") as stop:
        train(tmp_path / "run", videos, progress=StopAt(step), resume_command="autovid train X --resume")
    assert stop.value.exit_code == 130
    train(tmp_path / "run", videos, resume=True)
    assert same(final(tmp_path / "run"), final(whole))
    assert log(tmp_path / "run") == log(whole)


@pytest.mark.thorough  # that workers change no clip is tested of the loader
def test_workers_and_the_callers_random_state_change_nothing(videos: VideoSet, whole: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    train(tmp_path / "run", videos, workers=2)
    assert same(final(tmp_path / "run"), final(whole))


def test_the_seed_changes_everything(videos: VideoSet, whole: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", videos, recipe=recipe(seed=1))
    assert not same(final(tmp_path / "run"), final(whole))


def test_the_run_directory_tells_everything(whole: Path, videos: VideoSet) -> None:
    assert load_architecture(whole / "architecture.yaml") == ARCH
    content = json.loads((whole / "evaluation-center.json").read_text())
    assert (content["videos"], content["decoded"], content["step"], content["steps"]) == (12, 12, 6, 6)
    assert "MAC" in content["convention"]
    assert {"loss", "top1", "lr", "grad_norm"} <= log(whole)[0].keys()
    trained = open_trained(whole, "cpu")
    assert (trained.source, trained.classes) == (str(videos.root), videos.classes)


def test_a_finished_training_is_not_done_again(whole: Path, videos: VideoSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingTask, "step", None)
    monkeypatch.setattr("autovid.train.train.evaluate", None)
    assert train(whole, videos, resume=True).step == 6


@pytest.mark.slow
def test_evaluating_half_way_does_not_finish_it(videos: VideoSet, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path / "run", videos, progress=StopAt(4))
    assert evaluate(open_trained(tmp_path / "run", "cpu", which="last"), videos).step == 4
    assert evaluate(open_trained(tmp_path / "run", "cpu"), videos).step == 3
    assert train(tmp_path / "run", videos, resume=True).step == 6


def test_a_changed_recipe_architecture_or_data_is_refused(whole: Path, videos: VideoSet) -> None:
    with pytest.raises(RunError, match=r"recipe.lr: .* there, 0.5 now"):
        train(whole, videos, recipe=recipe(lr=0.5), resume=True)
    with pytest.raises(RunError, match="architecture"):
        train(
            whole, videos, ARCH.as_space().architecture([0] * len(ARCH.choices)).scaled(depth_factor=2.0), resume=True
        )
    fewer = VideoSet(videos.name, videos.root, videos.classes, videos.train[1:], videos.val)
    with pytest.raises(RunError, match=r"data.fingerprint"):
        train(whole, fewer, resume=True)
    with pytest.raises(RunError, match="--resume"):
        train(whole, videos)


def test_data_that_has_moved_is_still_the_same(whole: Path, videos: VideoSet, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(videos.root)
    again = VideoSet(videos.name, moved, videos.classes, videos.train, videos.val)
    assert train(whole, again, resume=True).step == 6


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(
    videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    step, load = TrainingTask.step, torch.optim.SGD.step

    def poisoned(task: TrainingTask, index: int) -> dict[str, float]:
        if index == 4:
            with torch.no_grad():
                next(task.net.parameters()).fill_(float("nan"))
        return step(task, index)

    monkeypatch.setattr(TrainingTask, "step", poisoned)
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *a, **k: moved.append(1) or load(*a, **k))
    with pytest.raises(Interrupted):
        train(tmp_path / "run", videos, progress=StopAt(3))
    with pytest.raises(DivergedError, match=r"the loss is nan in step 5 of 6.*--lr") as error:
        train(tmp_path / "run", videos, resume=True)
    assert error.value.exit_code == 6
    assert len(moved) == 4
    assert RunDirectory.open(tmp_path / "run").steps() == [3]
    assert all(tensor.isfinite().all() for tensor in tensors(final(tmp_path / "run").model).values())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_waits_for_the_device_twice(accumulate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For loss and accuracy after the last backward pass, and for the norm; and makes momentum in the first alone."""
    net = build(ARCH, 12)
    task = TrainingTask(net, _Constant(), recipe(accumulate=accumulate), Compute("cpu", "fp32"), 9, {})  # type: ignore[arg-type]
    task.step(0)
    reads: list[str] = []
    for name in ("__float__", "item", "tolist"):
        read = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *arguments: Any, name: str = name, read: Any = read) -> Any:
            reads.append(name)
            return read(self, *arguments)

        monkeypatch.setattr(torch.Tensor, name, counted)
    monkeypatch.setattr(torch, "zeros_like", lambda weight: pytest.fail("momentum made anew"))
    task.step(1)
    monkeypatch.undo()
    assert reads == ["tolist", "__float__"]


def test_a_gradient_that_is_not_finite_moves_no_weight() -> None:
    """Behind a loss that is. Weights that no step moves are equal to the bit, here and below."""
    net = build(ARCH, 12)
    next(net.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    task = TrainingTask(net, _Constant(), recipe(), Compute("cpu", "fp32"), 1, {})  # type: ignore[arg-type]
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(DivergedError, match="gradient is"):
        task.step(0)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))


def half() -> Compute:
    """fp16, which only CUDA devices are given, on the CPU."""
    compute = Compute("cpu", "fp32")
    compute.precision = Precision("fp16", "fp16")
    return compute


def test_a_gradient_too_large_for_fp16_leaves_the_step_out_and_lowers_the_scale() -> None:
    net = build(ARCH, 12)
    overflow = next(net.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    task = TrainingTask(net, _Constant(), recipe(), half(), 9, {})  # type: ignore[arg-type]
    before = [p.detach().clone() for p in net.parameters()]
    task.step(0)
    assert task.scaler.get_scale() == 32768
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    state = task.state()
    again = TrainingTask(build(ARCH, 12), _Constant(), recipe(), Compute("cpu", "fp32"), 9, {})  # type: ignore[arg-type]
    again.load(state)
    assert again.scaler.get_scale() == 32768
    overflow.remove()
    task.step(1)
    assert not all(torch.equal(a, b) for a, b in zip(before, net.parameters()))


def test_a_gradient_too_large_for_fp16_at_any_scale_has_diverged() -> None:
    net = build(ARCH, 12)
    next(net.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    task = TrainingTask(net, _Constant(), recipe(), half(), 99, {})  # type: ignore[arg-type]
    with pytest.raises(DivergedError, match="gradient is"):
        print([task.step(index) for index in range(99)])
    assert 0 < task.scaler.get_scale() < 1


def test_a_batch_too_large_for_the_device_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB ...")

    net = build(ARCH, 12)
    monkeypatch.setattr(net, "forward", full)
    task = TrainingTask(net, _Constant(), recipe(), Compute("cpu", "fp32"), 1, {})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="8 clips a step; give a smaller --batch"):
        task.step(0)


class _Constant:
    """A loader that gives the same batch for ever."""

    def batches(self, first: int, last: int) -> Any:
        x = torch.linspace(-1, 1, 2 * 3 * 8 * 24 * 24).view(2, 3, 8, 24, 24)
        return itertools.repeat(Batch(x, torch.tensor([0, 1]), torch.tensor([0, 1])))


def test_batch_norm_does_not_decay_and_everything_else_does() -> None:
    net = build(ARCH, 12)
    optimizer = make_optimizer(net, recipe(weight_decay=0.5))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    norms = {id(p) for module in net.modules() if isinstance(module, ElasticBatchNorm) for p in module.parameters()}
    assert norms
    assert all(decays[id(p)] == (0.0 if id(p) in norms else 0.5) for p in net.parameters())


def test_a_step_moves_every_weight_by_the_rule_of_sgd(videos: VideoSet, tmp_path: Path) -> None:
    """In channels_last_3d too, where a fused optimizer is wrong if gradients lie in memory otherwise than weights.

    A weight is a sum of four terms at most, in fp32, and so is its momentum: no more than their sizes lose.
    """
    net = build(ARCH, 12)
    chosen = recipe(weight_decay=0.1)
    task = TrainingTask(net, _Constant(), chosen, Compute("cpu", "fp32"), 2, {})  # type: ignore[arg-type]
    decays = {id(p): group["weight_decay"] for group in task.optimizer.param_groups for p in group["params"]}
    momentum = {id(p): torch.zeros_like(p) for p in net.parameters()}
    sizes = dict(momentum)
    for index in range(2):
        before = {id(p): p.detach().clone() for p in net.parameters()}
        lr = task.step(index)["lr"]
        for p in net.parameters():
            if p.grad is not None:
                momentum[id(p)] = 0.9 * momentum[id(p)] + p.grad + decays[id(p)] * before[id(p)]
                sizes[id(p)] = 0.9 * sizes[id(p)] + p.grad.abs() + decays[id(p)] * before[id(p)].abs()
                most = rounding(8) * (before[id(p)].abs() + lr * sizes[id(p)])
                assert ((p - (before[id(p)] - lr * momentum[id(p)])).abs() <= most).all()


def test_an_empty_split_is_refused_before_anything_is_made(videos: VideoSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no videos in its split val"):
        train(tmp_path / "run", VideoSet("x", videos.root, videos.classes, videos.train, ()))
    assert not (tmp_path / "run").exists()


def test_what_is_trained_is_had_at_its_own_clips_and_classes(whole: Path, tmp_path: Path) -> None:
    trained = as_trained(whole)
    assert trained == as_trained(open_trained(whole, "cpu"))
    assert (trained.hash, trained.reference) == (ARCH.hash, Reference(frames=8, crop=24, classes=12, stride=1))
    evaluation = read_evaluation(whole)
    assert evaluation is not None
    assert count(build(trained)).macs == evaluation.macs_per_view
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    replace(ARCH, reference=Reference(frames=16, crop=64, classes=400)).save(run / "architecture.yaml")
    assert as_trained(run) == trained
    shutil.rmtree(run / "checkpoints")
    assert as_trained(run).reference == Reference(frames=8, crop=24, classes=400, stride=1)
