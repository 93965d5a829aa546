"""Validation during a training: it changes nothing, keeps the best checkpoint, ends a training, and survives a stop."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import recipe, train
from stopping import StopAt

from autovid.data import Video, VideoSet, open_videos
from autovid.errors import ConfigError, RunError
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.run import Interrupted, RunDirectory
from autovid.train import evaluate, open_trained, resume_training
from autovid.train.accuracy import Accuracy
from autovid.train.recipe import Recipe
from autovid.train.task import TrainingTask
from autovid.train.trained import find_weights

Script = Callable[[list[float]], None]
RISING = 4, (30.0, 50.0, 40.0, 45.0)  # epochs of one step each, and what val says after them


@pytest.fixture(scope="module")
def few(tiny_videos: Path) -> VideoSet:
    """Four videos to train on, a step an epoch."""
    videos = open_videos(tiny_videos)
    return VideoSet("few", videos.root, videos.classes, videos.train[::6], videos.val[::3])


def use(monkeypatch: pytest.MonkeyPatch, measure: Callable[[Network], Accuracy]) -> None:
    meter = SimpleNamespace(measure=measure, close=lambda: None)
    monkeypatch.setattr("autovid.train.train.ValMeter", lambda *_, **__: meter)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Make the validations from now on say these accuracies in turn."""

    def script(results: list[float]) -> None:
        turns: Iterator[float] = iter(results)

        def measure(net: Network) -> Accuracy:
            return Accuracy(next(turns), 90.0, 4, torch.zeros(12, 12, dtype=torch.int64), 1.5)

        use(monkeypatch, measure)

    return script


def short(epochs: float = RISING[0], **changes: Any) -> Recipe:
    return recipe(**{"epochs": epochs, "batch": 4, "warmup": 1, **changes})


def records(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def go_on(path: Path, videos: VideoSet, **options: Any) -> Any:
    return resume_training(path, videos, source=str(videos.root), compute=Compute("cpu", "fp32"), **options)


@pytest.mark.slow
def test_it_leaves_every_bit_of_the_training_as_it_is(few: VideoSet, tmp_path: Path) -> None:
    """With dropout, batch norm and averaged weights: the same program on the same bytes, with and without."""
    for name, every in (("with", 1), ("without", 0)):
        train(tmp_path / name, few, recipe=short(3, validate_every=every, ema=0.9))
    states = [RunDirectory.open(tmp_path / name).load(3).state for name in ("with", "without")]
    assert all(torch.equal(value, states[1].model[name]) for name, value in states[0].model.items())
    raw = [state.optim["weights"] for state in states]
    assert all(torch.equal(value, raw[1][name]) for name, value in raw[0].items())
    logs = [
        [{k: v for k, v in r.items() if "val" not in k} for r in records(tmp_path / n)] for n in ("with", "without")
    ]
    assert logs[0] == logs[1]
    assert [sorted(k for k in r if "val" in k) for r in records(tmp_path / "with")] == [
        ["val_loss", "val_top1", "val_top5"]
    ] * 3


def test_it_measures_what_evaluate_measures(few: VideoSet, tmp_path: Path) -> None:
    train(tmp_path / "run", few, recipe=short(2))
    last = evaluate(open_trained(tmp_path / "run", "cpu", which="last"), few)
    assert (last.step, last.top1) == (2, records(tmp_path / "run")[-1]["val_top1"])


def test_the_best_checkpoint_is_kept_and_taken(few: VideoSet, tmp_path: Path, says: Script) -> None:
    says(list(RISING[1]))
    out = tmp_path / "run"
    evaluation = train(out, few, recipe=short())
    assert RunDirectory.open(out).steps() == [2, 4]
    assert (evaluation.step, evaluation.steps, evaluation.finished, evaluation.validations) == (2, 4, True, 4)
    assert evaluation.weights == "after epoch 2 of 4, the best of 4 validations"
    assert find_weights(out).parent.name == "step-000002"
    best, last = open_trained(out, "cpu"), open_trained(out, "cpu", which="last")
    assert (best.step, last.step, last.weights) == (2, 4, "after epoch 4 of 4, the last")
    assert any(not torch.equal(a, b) for a, b in zip(best.net.parameters(), last.net.parameters()))


def test_of_equals_the_lower_loss_is_the_best(few: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([2.0, 1.0, 1.5])
    none = torch.zeros(12, 12, dtype=torch.int64)
    use(monkeypatch, lambda net: Accuracy(50.0, None, 4, none, next(losses)))
    assert train(tmp_path / "run", few, recipe=short(3)).step == 2


@pytest.mark.parametrize(("balance", "best"), [(False, 1), (True, 2)])
def test_with_balance_the_mean_of_the_classes_chooses(
    few: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: bool, best: int
) -> None:
    """After one epoch a class of ten is right and one of two is not: 83 % and 50 %; then it is 67 % and 80 %."""
    right = iter([(10, 0), (6, 2)])

    def measure(net: Network) -> Accuracy:
        confusion = torch.zeros(12, 12, dtype=torch.int64)
        for row, (total, hits) in enumerate(zip((10, 2), next(right))):
            confusion[row, row], confusion[row, 1 - row] = hits, total - hits
        return Accuracy(100 * float(confusion.trace()) / 12, None, 12, confusion, 1.0)

    use(monkeypatch, measure)
    assert train(tmp_path / "run", few, recipe=short(2, balance=balance)).step == best
    logged = [record.get("val_class_mean") for record in records(tmp_path / "run")]
    assert logged == ([50.0, 80.0] if balance else [None, None])  # of small whole numbers, exact


@pytest.mark.slow
def test_a_stop_between_changes_neither_the_best_nor_the_patience(
    few: VideoSet, tmp_path: Path, says: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    says(list(RISING[1]))
    chosen = short(8, patience=2)
    whole = train(tmp_path / "whole", few, recipe=chosen)
    says(list(RISING[1]))
    with pytest.raises(Interrupted):
        train(tmp_path / "run", few, recipe=chosen, progress=StopAt(3))
    assert train(tmp_path / "run", few, recipe=chosen, resume=True) == whole
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert RunDirectory.open(tmp_path / "run").steps() == [2, 3, 4]
    shown = capsys.readouterr().out
    assert "epoch 2 of 8: val top-1 50.00 %, top-5 90.00 %, loss 1.5 (the best so far)" in shown
    assert "ends here, as 2 validations brought no better top-1 on val (best 50.00 %, after epoch 2)" in shown


@pytest.mark.slow
def test_a_training_without_patience_left_is_finished(
    few: VideoSet, tmp_path: Path, says: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    says([50.0, 40.0])
    chosen = short(8, patience=1)
    assert train(tmp_path / "run", few, recipe=chosen).finished
    assert open_trained(tmp_path / "run", "cpu").finished
    with monkeypatch.context() as patch:
        patch.setattr(TrainingTask, "step", None)
        assert train(tmp_path / "run", few, recipe=chosen, resume=True).step == 1
        (tmp_path / "run" / "evaluation-center.json").unlink()
        assert train(tmp_path / "run", few, recipe=chosen, resume=True).step == 1
    says([60.0, 10.0])
    assert go_on(tmp_path / "run", few, epochs=9).step == 3  # patience is new


@pytest.mark.slow
def test_a_training_is_prolonged_from_its_last_state_and_records_it(
    few: VideoSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From there on it is as if the longer schedule had been planned."""
    out = tmp_path / "run"
    train(out, few, recipe=short(2))
    with pytest.raises(RunError, match="was planned for 2 epochs, not 4; to prolong it: autovid train .* --epochs 4"):
        train(out, few, recipe=short(4), resume=True)
    with pytest.raises(ConfigError, match="can be made longer, not shorter"):
        go_on(out, few, epochs=1)
    with pytest.raises(Interrupted):
        go_on(out, few, epochs=4, progress=StopAt(3))
    assert "from step 2 on the learning rate follows the schedule of 4 epochs" in capsys.readouterr().out
    evaluation = go_on(out, few)
    assert (evaluation.steps, evaluation.finished) == (4, True)
    rates = [record["lr"] for record in records(out)]
    assert rates == [short(2).lr_at(0, 2), short(2).lr_at(1, 2), short(4).lr_at(2, 4), short(4).lr_at(3, 4)]
    assert RunDirectory.open(out).config["prolonged"] == [{"after": 2, "epochs": 4, "steps": 4}]
    assert open_trained(out, "cpu").recipe.epochs == 4
    assert train(out, few, recipe=short(2), resume=True) == evaluation  # the command that began it


def test_broken_videos_to_train_on_do_not_count_as_broken_ones_of_val(few: VideoSet, tmp_path: Path) -> None:
    """The run directory lists them all in one file."""
    train(tmp_path / "run", few, recipe=short(1, warmup=0))
    lines = [json.dumps({"path": f"train/{name}.mp4", "reason": "broken"}) for name in "ab"]
    (tmp_path / "run" / "faults.jsonl").write_text("\n".join(lines) + "\n")
    broken = Video("val/missing.mp4", 0)
    many = VideoSet("many", few.root, few.classes, few.train * 100, (*few.val, broken))
    trained = replace(open_trained(tmp_path / "run", "cpu"), data=many.name, fingerprint=many.fingerprint)
    assert evaluate(trained, many).decoded == len(few.val)


def test_where_val_is_held_out_it_is_said(tiny_videos: Path, tmp_path: Path, says: Script) -> None:
    videos = open_videos(tiny_videos / "train")
    says([50.0])
    train(tmp_path / "run", videos, recipe=short(0.2, warmup=0))
    assert "train has no val: 12 of its 24 videos to train on" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("epochs", "every", "steps", "expected"),
    [
        (4, None, 8, [2, 4, 6, 8]),
        (30, None, 30, list(range(2, 31, 2))),
        (3, 2, 9, [6, 9]),
        (0.5, None, 3, [3]),
        (4, 0, 8, []),
        (3, 1, 7, [3, 5, 7]),
    ],
)
def test_how_often(epochs: float, every: float | None, steps: int, expected: list[int]) -> None:
    chosen = recipe(epochs=epochs, warmup=0, validate_every=every)
    assert [done for done in range(1, steps + 1) if chosen.validates_after(done, steps)] == expected


def test_patience_without_validations_is_refused() -> None:
    with pytest.raises(ConfigError, match="not without any"):
        recipe(patience=1, validate_every=0)
