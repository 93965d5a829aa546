"""Without --data, a run's network learns from the videos of that run, and says so."""

import shutil
from pathlib import Path

import pytest

from autovid.cli import main
from autovid.run import RunDirectory, TaskState
from autovid.space import load_space

CLIPS = ["--frames", "8", "--crop", "24", "--stride", "1", "--device", "cpu", "--precision", "fp32", "--dry-run"]


def searched(out: Path, source: str, seed: int = 3) -> Path:
    """The run of a search by the proxy that has learned from `source`, and found an architecture."""
    state = TaskState(model={}, optim={}, search={}, info={"source": source})
    config = {"data": "mine", "settings": {"proxy": True}}
    with RunDirectory.create_or_resume(out, config, kind="search") as run:
        run.save(1, state)
        load_space("tiny").sample(1, seed=seed)[0].save(run.path / "architecture.yaml")
    return out


@pytest.fixture
def videos(tiny_videos: Path, tmp_path: Path) -> Path:
    (tmp_path / "own").symlink_to(tiny_videos)
    return tmp_path / "own"


@pytest.mark.parametrize(
    "words",
    [
        ["train", "RUN"],
        ["train", "RUN/architecture.yaml"],
        ["sweep", "RUN", "--over", "seed=0..1"],
        ["compare", "RUN", "tsn_resnet18"],
        ["random-baseline", "--searched", "RUN", "-n", "2"],
    ],
    ids=lambda words: " ".join(words),
)
def test_the_data_and_the_scale_are_those_of_the_run(
    words: list[str], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = searched(tmp_path / "run", str(videos))
    command = [*(word.replace("RUN", str(run)) for word in words), *CLIPS]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"data: {videos}, which {run} has learned from (others: --data)" in shown
    assert "This is a PROXY training: 30 epochs" in shown
    assert "synthetic" not in shown
    assert main([*command, "--data", "synthetic"]) == 0
    shown = capsys.readouterr().out
    assert "synthetic" in shown
    assert "has learned from" not in shown
    shutil.move(videos, tmp_path / "elsewhere")
    assert main(command) == 4
    assert f"{run} learned from {videos}, which is not there any more: put it back" in capsys.readouterr().err


def test_without_a_known_source_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(tmp_path / "run", "")
    assert main(["train", str(run), *CLIPS]) == 4
    assert f"{run} has not recorded which videos it learned from: give --data" in capsys.readouterr().err


def test_a_file_in_a_folder_that_is_no_run_has_no_videos_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_space("tiny").sample(1, seed=3)[0].save(tmp_path / "architecture.yaml")
    (tmp_path / "config.yaml").write_text("mine: true\n")
    assert main(["train", str(tmp_path / "architecture.yaml"), *CLIPS]) == 0
    assert "data     synthetic: 12 classes" in capsys.readouterr().out


def test_runs_with_different_videos_are_compared_on_those_that_are_given(
    tiny_videos: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [searched(tmp_path / "a", str(videos)), searched(tmp_path / "b", str(tiny_videos), seed=4)]
    words = ["compare", *map(str, runs), *CLIPS]
    assert main(words) == 2
    assert "the runs have learned from different videos: give --data" in capsys.readouterr().err
    assert main([*words, "--data", str(videos), "--recipe", "proxy"]) == 0


def test_a_search_of_the_embedded_set_is_followed_by_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(tmp_path / "run", "synthetic")
    assert main(["train", str(run), *CLIPS]) == 0
    shown = capsys.readouterr().out
    assert "data     synthetic: 12 classes" in shown
    assert "has learned from" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["train", "RUN"],
        ["train", "RUN/architecture.yaml"],
        ["compare", "RUN", "tsn_resnet18"],
        ["random-baseline", "--searched", "RUN", "-n", "2"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_search_by_a_table_has_no_videos_and_is_followed_by_the_embedded_set(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    by_table = ["--score", "table:bench", "--flops", "0.0024832:0.0026368", "--steps", "1"]
    assert main(["search", "--space", "bench", *by_table, "-o", str(run)]) == 0
    capsys.readouterr()
    assert main([*(word.replace("RUN", str(run)) for word in words), *CLIPS]) == 0
    shown = capsys.readouterr().out
    assert "synthetic" in shown
    assert "has learned from" not in shown


def test_videos_of_a_run_count_beside_a_search_that_has_none(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = searched(tmp_path / "run", str(videos))
    config = {"settings": {"score": "table:bench"}}
    with RunDirectory.create_or_resume(tmp_path / "table", config, kind="search") as other:
        load_space("tiny").sample(1, seed=4)[0].save(other.path / "architecture.yaml")
    assert main(["compare", str(tmp_path / "table"), str(run), *CLIPS]) == 0
    assert f"data: {videos}, which {run} has learned from" in capsys.readouterr().out
