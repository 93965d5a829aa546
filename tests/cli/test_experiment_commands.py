"""Experiments on the command line: from a file to an evaluated run, and every mistake a line."""

import csv
import json
import re
from pathlib import Path

import pytest
import safetensors.torch

from autovid.cli import main, training
from autovid.data import open_videos
from autovid.run import RunDirectory

TEXT = """\
about: a small experiment
network: tsn_resnet18
options: {dropout: 0.1}
with: {cutmix: {probability: 0.5}}
dataset: {name: tiny, classes: 12, train: 24, val: 12}
recipe:
  epochs: 1
  batch: 8
  lr: 0.01
  frames: 2
  crop: 32
  crops: multi_scale
  precision: fp32
views: [center, 2-lcr]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def trained(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the experiment with other values."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "small.yaml").write_text(TEXT)
    words = ["train", str(folder / "small.yaml"), "--data", str(tiny_videos), "-o", str(folder / "run")]
    assert main([*words, "--set", "lr=0.02", "--set", "recipe.ema=0.5", "--batch", "12"]) == 0
    return folder / "run"


@pytest.mark.slow
def test_it_runs_with_what_was_set(trained: Path) -> None:
    recipe = RunDirectory.open(trained).config["recipe"]
    assert (recipe["lr"], recipe["ema"], recipe["batch"], recipe["crops"]) == (0.02, 0.5, 12, "multi_scale")
    assert (recipe["frames"], recipe["crop"]) == (2, 32)


def test_its_protocol_is_evaluated_with_classes_and_confusion(trained: Path) -> None:
    for views, number in (("center", 1), ("2-lcr", 6)):
        content = json.loads((trained / f"evaluation-{views}.json").read_text())
        assert (content["views"], content["views_per_video"]) == (views, number)
        assert (content["decoded"], content["videos"]) == (12, 12)
        table = list(csv.reader((trained / f"confusion-{views}.csv").open()))
        names, rows = table[0][1:], [list(map(int, row[1:])) for row in table[1:]]
        assert [row[0] for row in table[1:]] == names == list(content["top1_of_classes"])
        assert [sum(row) for row in rows] == [1] * 12
        hits = [100.0 * row[number] for number, row in enumerate(rows)]
        assert hits == list(content["top1_of_classes"].values())
        assert content["top1"] == pytest.approx(sum(hits) / 12)  # of the same whole numbers


def test_evaluate_counts_views_as_papers_do(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "--views", "3"]) == 0
    shown = capsys.readouterr().out
    assert "12 of 12 videos" in shown
    assert "lcr: 3 views a video" in shown
    assert (trained / "confusion-lcr.csv").is_file()


@pytest.mark.slow
def test_a_run_is_where_another_starts(
    file: Path, trained: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a classifier of its own, and everything else as it was: nothing moves at a rate of almost nothing."""
    out = tmp_path / "next"
    words = ["train", str(file), "--data", str(tiny_videos), "-o", str(out), "--set", "views=[center]"]
    assert main([*words, "--weights", str(trained), "--new-head", "--lr", "1e-12"]) == 0
    before, after = (latest(path) for path in (trained, out))
    name = "stages.0.0.conv1.weight"
    assert (before[name] - after[name]).abs().max() < 1e-6  # at a rate of 1e-12, for a gradient of 300,000
    assert (before["classifier.weight"] - after["classifier.weight"]).abs().max() > 1e-3
    assert RunDirectory.open(out).config["new_head"] is True
    assert main([*words, "--weights", str(trained), "--new-head", "--lr", "1e-12", "--resume"]) == 0
    assert main([*words, "--lr", "1e-12", "--resume"]) == 5
    assert "weights" in capsys.readouterr().err


@pytest.mark.slow
def test_it_says_where_there_are_fewer_workers_than_it_is_for(
    file: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(file), "--data", str(tiny_videos), "--set", "views=[center]", "--epochs", "0.3"]
    for workers, says in ((2, True), (1, False)):
        assert main([*words, "-o", str(tmp_path / f"{workers}"), "--set", f"workers={workers}"]) == 0
        assert ("is for 2 workers and runs on 1, which take the same batch" in capsys.readouterr().out) == says


def latest(path: Path) -> dict[str, safetensors.torch.torch.Tensor]:
    step = max((path / "checkpoints").iterdir())
    return safetensors.torch.load_file(step / "model.safetensors")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 4, "has no data yet; give --data"),
        (["--set", "batch=9", "--set", "workers=2", "--dry-run"], 2, "--set batch=9: recipe.batch: .*among 2 workers"),
        (["--set", "jitter=[16, 20]", "--dry-run"], 2, "recipe.jitter: jitter 16:20: .*crop of 32"),
        (["--set", "network=tsn", "--dry-run"], 2, "--set network=tsn: network: there is no network 'tsn'"),
        (["--set", "options.droput=1", "--dry-run"], 2, "options: .*has no option 'droput'"),
        (["--set", "with.rms.kernel=2", "--dry-run"], 2, "with: module rms, option kernel"),
        (["--set", "epoch=3", "--dry-run"], 2, "--set epoch=3: recipe.epoch: unknown key; did you mean 'epochs'"),
        (["--set", "views=[9-up]", "--dry-run"], 2, "--set views=.*: views: views '9-up'"),
        (["--data", "/nowhere", "--dry-run"], 4, "/nowhere: no such folder"),
        (["--weights", "/nowhere.safetensors", "--dry-run"], 2, "/nowhere.safetensors: no such file"),
        (["--recipe", "proxy", "--dry-run"], 2, "--recipe is for networks"),
        (["--set", "start.about=ImageNet", "--data", "TINY"], 2, "starts from ImageNet: give --weights FILE"),
        (["--set", "precise_norm=2", "--set", "with.dnr.group=1", "--dry-run"], 2, "precise_norm: "),
    ],
)
def test_mistakes_are_one_line_each(
    file: Path, tiny_videos: Path, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main(["train", str(file), *(str(tiny_videos) if word == "TINY" else word for word in words)]) == code
    shown = capsys.readouterr().err
    assert re.search(message, shown), shown
    assert shown.count("\n") == 1


def test_a_plan_with_data_counts_it(file: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(file), "--data", str(tiny_videos), "--dry-run", "--set", "accumulate=2"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "network  tsn_resnet18 dropout=0.1 + cutmix probability=0.5",
        "steps    3: 1 epoch of 24 videos, 8 clips a step",
        "in 2 parts of 4",
        "center (1 of 32x32), 2-lcr (6 of 36x36)",
        "ready; nothing was trained",
    ):
        assert words in shown
    assert not Path("runs").exists() or "small" not in str(list(Path("runs").iterdir()))


def test_networks_have_plans_and_settings_too(tiny_videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "tsn_resnet18", "--data", str(tiny_videos), "--dry-run", "--set", "max_norm=40"]
    assert main([*words, "--recipe", "proxy"]) == 0
    shown = capsys.readouterr().out
    assert "from scratch" in shown
    assert re.search(r"^memory   about [1-9]\d* MiB a worker", shown, re.MULTILINE)  # too little for GiB
    assert main([*words, "--set", "max_norms=1"]) == 2
    assert "did you mean max_norm" in capsys.readouterr().err


def test_an_experiment_for_another_command_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "auto_tsnet_search", "--dry-run"]) == 2
    assert "autovid search " in capsys.readouterr().err
    assert main(["search", "rms_kinetics400", "--dry-run"]) == 2
    assert "autovid train " in capsys.readouterr().err


def test_a_sweep_over_addresses_shows_nothing_secret(
    file: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "open_data", lambda source, seed: (open_videos(tiny_videos), source))
    words = ["sweep", str(file), "--batch", "4", "--dry-run", "--over"]
    assert main([*words, "data=https://me:PASS@host/a,https://host/b?key=PASS"]) == 0
    shown = capsys.readouterr().out
    assert "2 trainings: data=https://host/a; data=https://host/b;" in shown
    assert "PASS" not in shown
    assert main([*words, "data=https://host/a?key=1,https://host/a?key=2"]) == 2
    assert "--over data=https://host/a: given twice" in capsys.readouterr().err
