"""Two workers train as one does: the same weights on both, bit for bit, and those of one alone but for rounding."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from small import ARCH, recipe, train
from stopping import StopAt
from tolerance import rounding
from torch import Tensor
from workers import together

from autovid.data import open_videos
from autovid.errors import AutovidError, ConfigError, RunError
from autovid.models import Model, Network, NetworkSpec, build
from autovid.run import Interrupted, RunDirectory
from autovid.train.task import TrainingTask

pytestmark = pytest.mark.slow

TSM = NetworkSpec(network="tsm_mobilenet_v2", classes=12, frames=4, crop=32, modules={"cutmix": {}})
Result = dict[str, Any]


def watched(out: Path, data: Path, model: Model, changes: dict[str, Any], **options: Any) -> Result:
    """A training, and this worker's own weights after it."""
    seen: Result = {}
    step = TrainingTask.step

    def watch(task: TrainingTask, index: int) -> dict[str, float]:
        metrics = step(task, index)
        seen["weights"] = {name: value.clone() for name, value in task.net.state_dict().items()}
        seen.setdefault("losses", []).append(metrics["loss"])
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingTask, "step", watch)
        patch.setattr("autovid.train.train.build", in_double)
        trained = train(out, open_videos(data), model, recipe=recipe(**{"sync_norm": True, **changes}), **options)
    return {**seen, "evaluation": msgspec.to_builtins(trained)}


def in_double(model: Model, classes: int) -> Network:
    """In fp32 the gradient of so small a batch has an error of 2 %, with one worker or two.

    The loss stays in fp32: where a logit of two rounds otherwise than that of one, its gradient has an error of 2**-24.
    """
    net = build(model, classes).double()
    net.register_forward_pre_hook(lambda _, arguments: (arguments[0].double(),))
    return net


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """But for that error: of 2**-24 = 6e-8 of a step's gradient in each of six steps, 4e-7 of what the weights move.

    Momentum and rates below 1 make it no larger, whatever the machine; 1e-6 is twice that. Seen: 1e-11, as few logits
    round otherwise. A gradient that is not shared makes 1e-2.
    """
    return all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6) for name in theirs)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        pytest.param(ARCH, {}, id="architecture"),
        pytest.param(
            TSM,
            {"frames": 4, "crop": 32, "epochs": 1, "lr": 0.002, "max_norm": 5.0, "ema": 0.9},
            id="tsm with cutmix",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_two_workers_train_as_one(model: Model, changes: dict[str, Any], tiny_videos: Path, tmp_path: Path) -> None:
    whole = watched(tmp_path / "whole", tiny_videos, model, changes)
    first, second = together(watched, tmp_path / "pair", tiny_videos, model, changes)
    # Both add the same two numbers, and a + b is b + a; from there on the same code has the same bytes.
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in whole["weights"])
    assert close(first["weights"], whole["weights"])
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(whole["losses"], rel=rounding(20))  # of 12 classes and 8 clips
    assert first["evaluation"] == second["evaluation"]
    assert first["evaluation"]["decoded"] == first["evaluation"]["videos"] == 12
    assert {p.name for p in tmp_path.joinpath("pair").iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


def test_norms_of_each_workers_own_clips_are_the_default(tiny_videos: Path, tmp_path: Path) -> None:
    changes = {"sync_norm": recipe().sync_norm}
    assert changes == {"sync_norm": False}
    first, second = together(watched, tmp_path / "pair", tiny_videos, ARCH, changes)
    norms = [name for name in first["weights"] if "running_mean" in name]
    weights = first["weights"].keys() - {name for name in first["weights"] if "running" in name}
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in weights)  # as above
    assert not any(torch.equal(first["weights"][name], second["weights"][name]) for name in norms)
    assert first["evaluation"] == second["evaluation"]  # with the statistics of the first worker
    assert RunDirectory.open(tmp_path / "pair").config["norm_clips"] == recipe().batch // 2


def stopped(out: Path, data: Path) -> str:
    try:
        watched(out, data, ARCH, {}, progress=StopAt(2))
    except Interrupted as error:
        return str(error)
    return "not stopped"


def go_on(out: Path, data: Path) -> Result:
    return watched(out, data, ARCH, {}, resume=True)


def test_stopped_and_resumed_equals_undisturbed(tiny_videos: Path, tmp_path: Path) -> None:
    undisturbed = together(watched, tmp_path / "whole", tiny_videos, ARCH, {})[0]
    assert all("stopped after step 2" in text for text in together(stopped, tmp_path / "run", tiny_videos))
    again = together(go_on, tmp_path / "run", tiny_videos)[0]
    # The same two workers with the same bytes, which a checkpoint keeps.
    assert all(torch.equal(again["weights"][name], value) for name, value in undisturbed["weights"].items())


def test_a_run_of_one_is_gone_on_with_by_two(tiny_videos: Path, tmp_path: Path) -> None:
    whole = watched(tmp_path / "whole", tiny_videos, ARCH, {})
    stopped(tmp_path / "run", tiny_videos)
    assert RunDirectory.open(tmp_path / "run").steps()[-1] == 2
    again = together(go_on, tmp_path / "run", tiny_videos)
    assert close(again[0]["weights"], whole["weights"])


def refused(out: Path, data: Path, batch: int) -> tuple[str, str, bool]:
    try:
        watched(out, data, ARCH, {"batch": batch})
    except AutovidError as error:
        return type(error).__name__, str(error), error.everywhere
    return "", "not refused", False


def test_what_is_wrong_is_wrong_for_both(tiny_videos: Path, tmp_path: Path) -> None:
    for kind, text, _ in together(refused, tmp_path / "odd", tiny_videos, 5):
        assert (kind, "5 clips cannot be shared by 2 workers" in text) == (ConfigError.__name__, True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("dear")
    for kind, text, everywhere in together(refused, tmp_path / "foreign", tiny_videos, 8):
        assert (kind, "not empty" in text, everywhere) == (RunError.__name__, True, True)
