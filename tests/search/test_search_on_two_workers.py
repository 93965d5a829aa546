"""Two workers search as one does: every step from a common state is the same step, and both stay equal bit for bit.

They take architectures side by side, or, where there are too few or they are asked to, a half of each batch.

Whole searches of one worker and of two are not compared: each step rounds, Adam and ReLU enlarge the difference, and
the next steps go on from there. A step from a common state has no time for that, and in float64 what it rounds is
far below what any mistake would change.
"""

import copy
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stopping import StopAt
from torch import Tensor
from workers import together

from autovid import distributed
from autovid.data import Batch, open_videos
from autovid.errors import DivergedError
from autovid.kernels.compute import Compute
from autovid.models import SearchNetwork
from autovid.run import Interrupted, TaskState
from autovid.run.task import seed_step
from autovid.search import parse_constraints, search, settings_for
from autovid.search.choice import Judge
from autovid.search.problem import Choices
from autovid.search.run import SearchResult
from autovid.search.settings import SearchSettings
from autovid.search.strategies.parsec import Parsec, Prior
from autovid.search.supernet import HELD_OUT, Supernet
from autovid.search.task import SearchTask
from autovid.space import SearchSpace, load_space

pytestmark = pytest.mark.slow

STEPS = 12  # three of each part, and of the joint phase
SEEN = [index for index in range(STEPS) if index % 3 != 1]  # alpha learns in all but the first of a part
Tensors = dict[str, Tensor]


def tiny_settings(split: str = "architectures") -> SearchSettings:
    return settings_for(
        load_space("tiny"),
        proxy=True,
        videos=12,
        steps=3,
        samples=2,
        archs_per_update=3 if split == "architectures" else 1,
        split=split,
        sync_norm=True,
        alpha_every=1,
        batch=4,
        crop=16,
        jitter=(16, 20),
        open_prior="quarter",
    )


# -- one worker and two


@dataclass
class Step:
    """A step of the search: the state before it, and what came of it."""

    before: TaskState
    archs: Choices
    metrics: dict[str, float]
    gradients: Tensors  # of the weights, on which SGD has acted
    weights: Tensors
    alpha_gradients: Tensors
    alpha: Tensors


class SupernetInDouble(Supernet):
    """A supernet that computes in float64 up to the logits; the loss, alpha and its gradient are float32."""

    def begin_part(self, lr: float) -> None:
        self.net.double()
        super().begin_part(lr)

    def _batch(self, half: int) -> tuple[Tensor, Tensor]:
        x, y = super()._batch(half)
        return x.double(), y

    def batches(self, part: int, first: int, last: int) -> Iterator[Batch]:
        return (batch._replace(x=batch.x.double()) for batch in super().batches(part, first, last))


class InDouble(SearchTask):
    """A search with such a supernet, whose draws and gradients are kept."""

    def _enter(self, number: int) -> None:
        super()._enter(number)
        draw = self.strategy.draw

        def kept(*arguments: Any) -> Choices:
            self.archs = draw(*arguments)
            return self.archs

        self.strategy.draw = kept  # type: ignore[method-assign]

    @property
    def prior(self) -> Prior:
        assert isinstance(self.strategy, Parsec)
        return self.strategy.prior

    @property
    def net(self) -> SearchNetwork:
        assert self.supernet is not None
        return self.supernet.net

    def seen_step(self, index: int) -> Step:
        before = copy.deepcopy(self.state())
        seed_step(self.settings.seed, index)  # as the loop does
        metrics = self.step(index)
        named = zip(self.prior.tensors(), self.prior.alpha, strict=True)
        return Step(
            before,
            self.archs,
            metrics,
            {name: p.grad.clone() for name, p in self.net.named_parameters() if p.grad is not None},
            {name: value.clone() for name, value in self.net.state_dict().items()},
            {name: alpha.grad.clone() for name, alpha in named if alpha.grad is not None},
            self.prior.tensors(),
        )


def with_dropout() -> SearchSpace:
    space = load_space("tiny")
    return replace(space, network=msgspec.structs.replace(space.network, dropout=0.5))


def in_double(data: Path, split: str) -> InDouble:
    settings, space = tiny_settings(split), with_dropout()
    supernet = SupernetInDouble(space, open_videos(data), settings, Compute("cpu", "fp32"), 0, None)
    return InDouble(space, settings, supernet=supernet)


def all_steps(data: Path, split: str) -> list[Step]:
    task = in_double(data, split)
    return [task.seen_step(index) for index in SEEN]


@pytest.mark.parametrize("split", ["architectures", "batch"])
def test_two_workers_do_the_same_step_as_one(tiny_videos: Path, split: str) -> None:
    ours, theirs = together(all_steps, tiny_videos, split)
    alone = in_double(tiny_videos, split)
    learned = 0
    for index, first, second in zip(SEEN, ours, theirs, strict=True):
        alone.load(copy.deepcopy(first.before))
        whole = alone.seen_step(index)
        # random numbers and alpha are the same bits, so the draw is too
        assert np.array_equal(first.archs, second.archs)
        assert np.array_equal(first.archs, whole.archs)
        assert first.metrics == second.metrics  # to the bit: computed from what was summed over both
        same_step(first, whole, alone.settings)
        learned += bool(whole.alpha_gradients)
    assert learned >= 3


def same_step(two: Step, one: Step, settings: SearchSettings) -> None:
    """The steps are equal to rounding.

    What rounds in float64 does so at 2^-53, 2^29 times finer than float32: sums over fewer than 2^14 pixels through 2^6
    layers stay finer than one float32 rounding. So the error is that of the loss, which is float32: logits are rounded,
    summed over 12 classes and 4 clips, 17 roundings of 2^-24. The loss, below 4, is the exponent of the architectures'
    weights m_k, and its gradient, as exact, is what all others are linear in: 17 * 4 + 17 < 128 roundings.
    """
    eps, part = 128 * 2.0**-24, settings.parts[int(one.metrics["part"])]
    for name in ("loss", "held_out_loss"):
        assert one.metrics.get(name, 0.0) < 4
        assert two.metrics.get(name, 0.0) == pytest.approx(one.metrics.get(name, 0.0), rel=eps)
    assert two.gradients.keys() == one.gradients.keys()
    room = eps * largest(one.gradients)
    for name, gradient in one.gradients.items():
        assert apart(two.gradients[name], gradient) <= room, name
    for name, value in one.weights.items():
        if settings.split == "architectures" and "running" in name:
            continue  # of the architectures that a worker took; nothing reads them
        # SGD moves weights by lr times the gradient; statistics are moments in float64, of fewer than 2^14 pixels
        assert apart(two.weights[name], value) <= (2.0**-29 if "running" in name else part.lr * room), name
    assert two.alpha_gradients.keys() == one.alpha_gradients.keys()
    for name, gradient in one.alpha_gradients.items():
        # of m_k - 1 / K, which sum to 0: so not relative to the gradient but to m_k, at most 1
        assert apart(two.alpha_gradients[name], gradient) <= eps, name
        same_adam(two.alpha[name], one.alpha[name], gradient, eps, part.arch_lr)


def same_adam(two: Tensor, one: Tensor, gradient: Tensor, error: float, lr: float) -> None:
    """Adam divides by the size of the gradient itself, at first of it alone: so an error in it counts relative to it.

    In step t <= 3, with r = error / |gradient|, that of the mean counts at most r * sqrt(t), that of the size r.
    """
    room = 3 * lr * error / gradient.abs() + 4 * 2.0**-24 * one.abs().max()  # and alpha is rounded to float32
    assert bool(((two - one).abs() <= room).all())


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def largest(tensors: Tensors) -> float:
    return max((float(tensor.abs().max()) for tensor in tensors.values()), default=0.0)


# -- two workers


def judged(data: Path) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The architectures that this worker takes, and the losses and answers of all of them on held-out clips."""
    task = in_double(data, "architectures")
    assert task.supernet is not None
    archs = task.space.index(task.space.sample(3, seed=4))
    judge = Judge(task.supernet, task.space, archs, clips=8)
    losses, right = judge.judge(task.supernet.batches(HELD_OUT, 0, 2), [2, 0, 1])
    return [*task.supernet.deal(task.space, archs).numbers], losses, right


def test_two_workers_judge_as_one(tiny_videos: Path) -> None:
    (first, loss, right), (second, other_loss, other_right) = together(judged, tiny_videos)
    _, whole_loss, whole_right = judged(tiny_videos)
    assert sorted(first + second) == [0, 1, 2]
    assert first
    assert second
    # to the bit: each has the statistics of all architectures from the one that took them, and the clips of both
    assert np.array_equal(loss, other_loss)
    assert np.array_equal(right, other_right)
    # clips come one worker after the other; logits are float32, and so is the loss of 12 classes, which is below 4
    assert np.sort(loss, 1) == pytest.approx(np.sort(whole_loss, 1), abs=16 * 4 * 2.0**-24)
    assert whole_loss.max() < 4
    assert right.sum() == whole_right.sum()


def diverged(data: Path) -> tuple[str, bool]:
    """What a step says whose second worker has a loss that is not a number, and whether a weight has moved."""
    task = in_double(data, "architectures")
    assert task.supernet is not None
    before = [parameter.clone() for parameter in task.net.parameters()]
    with pytest.MonkeyPatch.context() as patch:
        if distributed.rank():
            patch.setattr(
                task.supernet, "logits", lambda x, *_: torch.full((len(x), 12), torch.nan, requires_grad=True)
            )
        try:
            task.step(0)
        except DivergedError as error:
            return str(error), not all(map(torch.equal, before, task.net.parameters()))
    return "", True


def test_what_diverges_on_one_worker_stops_both(tiny_videos: Path) -> None:
    for said, moved in together(diverged, tiny_videos):
        assert "the loss of an architecture is nan" in said
        assert not moved


def tiny_search(out: Path, data: Path, stop_at: int | None = None, **options: Any) -> SearchResult:
    progress = StopAt(stop_at, signal.SIGUSR1) if stop_at else None
    options = {"checkpoint_every": 1, "device": "cpu", "precision": "fp32", "progress": progress, **options}
    space = load_space("tiny")
    constraints = parse_constraints(space, {"flops": "0.0075:0.008"})
    return search(space, open_videos(data), tiny_settings(), out, constraints=constraints, **options)


def watched_search(out: Path, data: Path) -> dict[str, Any]:
    """A search, and what this worker has drawn and learned in it: in memory, not as the first one has saved it."""
    seen: dict[str, Any] = {"archs": [], "alpha": [], "losses": []}
    step, draw = SearchTask.step, Parsec.draw

    def watch_draw(strategy: Parsec, *arguments: Any) -> Choices:
        seen["archs"].append(draw(strategy, *arguments))
        return seen["archs"][-1]  # type: ignore[no-any-return]

    def watch_step(task: SearchTask, index: int) -> dict[str, float]:
        metrics = step(task, index)
        assert isinstance(task.strategy, Parsec)
        assert task.supernet is not None
        seen["alpha"].append(task.strategy.prior.tensors())
        seen["losses"].append(metrics["loss"])
        seen["weights"] = {name: value.clone() for name, value in task.supernet.net.state_dict().items()}
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parsec, "draw", watch_draw)
        patch.setattr(SearchTask, "step", watch_step)
        seen["found"] = tiny_search(out, data).architecture.hash
    return seen


@pytest.fixture(scope="module")
def pair(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("pair") / "run"
    return out, together(watched_search, out, tiny_videos)


Pair = tuple[Path, list[dict[str, Any]]]


def test_both_workers_learn_the_same_bit_for_bit(pair: Pair) -> None:
    """A sum over workers has the same bits on all, alpha is the first one's, and all else is computed from these."""
    first, second = pair[1]
    assert all(np.array_equal(a, b) for a, b in zip(first["archs"], second["archs"], strict=True))
    for one, two in zip(first["alpha"], second["alpha"], strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    weights = [name for name in first["weights"] if "running" not in name]  # those are of a worker's own architectures
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in weights)
    assert first["losses"] == second["losses"]
    assert largest(first["alpha"][-1]) > 0.01  # else this would say nothing


def test_the_first_alone_writes_and_both_know_what_was_found(pair: Pair) -> None:
    out, workers = pair
    assert len({worker["found"] for worker in workers}) == 1
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS))
    assert (out / "log.txt").read_text().count("starting, 2 workers") == 1
    assert len(list((out / "tensorboard").iterdir())) == 1


def interrupted(out: Path, data: Path) -> str:
    try:
        tiny_search(out, data, stop_at=4)
    except Interrupted as stopped:
        return str(stopped)
    return "not stopped"


def resumed(out: Path, data: Path) -> str:
    return tiny_search(out, data, resume=True).architecture.hash


def test_one_asked_to_stop_stops_both_and_going_on_changes_nothing(
    pair: Pair, tiny_videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    messages = together(interrupted, out, tiny_videos)
    assert all("stopped after step 4 of 12; saved at step 4" in message for message in messages)
    together(resumed, out, tiny_videos)
    for file in ("model.safetensors", "search.safetensors"):
        ours, theirs = (load_file(path / f"checkpoints/step-{STEPS:06d}/{file}") for path in (out, pair[0]))
        assert ours.keys() == theirs.keys()
        # to the bit: the same kernels, recorded in the checkpoint, on the same numbers in the same process
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
