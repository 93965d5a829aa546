"""What a sweep tells while it runs, and what other commands tell of it."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from small import ARCH, recipe

from autovid.cli import main
from autovid.data import VideoSet, open_videos
from autovid.studies.sweep import SweepResult, SweepTraining, sweep
from autovid.train import Evaluation


def test_halving_is_told_each_epochs_accuracy_on_val(tiny_videos: Path, tmp_path: Path) -> None:
    videos = open_videos(tiny_videos)
    few = VideoSet("few", videos.root, videos.classes, videos.train[::6], videos.val[::3])
    told: list[tuple[int, float]] = []
    chosen = recipe(epochs=2, batch=4, validate_every=1)
    training = SweepTraining(("lr=0.05",), ARCH, chosen, few, str(videos.root), device="cpu")
    evaluation = training.run(tmp_path, lambda epoch, top1: told.append((epoch, top1)))
    assert isinstance(evaluation, Evaluation)
    assert [epoch for epoch, _ in told] == [1, 2]
    assert evaluation.top1 == max(top1 for _, top1 in told)


def test_a_sweep_has_an_accuracy_in_runs_and_a_table_that_report_names(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = open_videos(tiny_videos)
    few = VideoSet("few", videos.root, videos.classes, videos.train[::6], videos.val[::3])
    chosen = recipe(epochs=1, batch=4, warmup=0)
    training = SweepTraining(("seed=0",), ARCH, chosen, few, str(videos.root), device="cpu")

    def run(trainings: Sequence[SweepTraining], folder: Path) -> Iterator[tuple[int, SweepResult]]:
        result = trainings[0].run(folder, lambda epoch, top1: None)
        assert isinstance(result, Evaluation)
        yield 0, SweepResult(training.settings, result.top1, result.top5, result.params, result.macs_per_view)

    (result,) = sweep([training], tmp_path / "a sweep", run, resume_command="autovid sweep x --resume")
    capsys.readouterr()
    assert main(["runs", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["kind"], row["top1"], row["next"]) == ("finished", "sweep on few", result.top1, "")
    assert main(["report", str(tmp_path / "a sweep")]) == 0
    folder = shlex.quote(str(tmp_path / "a sweep"))
    assert capsys.readouterr().out == (
        f"in {shlex.quote(str(tmp_path / 'a sweep' / 'table.md'))}; for a report of its trainings: "
        f"autovid report {folder}/*=*\n"
    )
