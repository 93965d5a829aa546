"""A dry run that predicts by a machine's profile, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from planted import machine, write

from autovid.cli import main
from autovid.studies import profile
from autovid.train.plan import estimate_time

ONES = ["train", "tsn_resnet18", "--recipe", "proxy", "--frames", "4", "--batch", "8", "--epochs", "2"]


@pytest.fixture
def planted(tmp_path: Path) -> str:
    return str(write(tmp_path / "planted.json"))


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_training_is_predicted_and_not_measured(
    planted: str, tiny_videos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: Any) -> str:
        raise AssertionError("measured")

    monkeypatch.setattr("autovid.train.plan.estimate_time", no)
    assert estimate_time is not no
    text = said([*ONES, "--data", str(tiny_videos), "--dry-run", "--hardware", planted, "--workers", "4"], capsys)
    assert "batch    8 clips = 4 x 2" in text
    plan, _, predicted = text.partition("predicted, not measured\n")
    assert "GFLOPs a clip" in plan
    names = [line.split()[0] for line in predicted.splitlines() if line]
    assert names == ["by", "step", "whole", "reading", "memory", "widest", "ready;"]
    assert "a planted machine; cpu, fp32, 1 threads; planted" in predicted
    assert "s on 4 workers: " in predicted


@pytest.mark.slow
def test_an_experiment_is_predicted_without_its_data(planted: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "tsn_kinetics200", "--dry-run", "--hardware", planted]
    text = said([*words, "--set", "batch=64", "--workers", "16"], capsys)
    assert "predicted, not measured" in text
    assert "s on 16 workers" in text
    assert "to be given: --data" in text


@pytest.mark.slow
def test_a_search_is_predicted(planted: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--space", "tiny", "--recipe", "proxy", "--dry-run", "--hardware", planted, "--workers", "2"]
    text = said(words, capsys)
    assert "predicted, not measured" in text
    assert "of passes beside them" in text  # the choice
    assert "on this CPU" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (ONES, "give --dry-run, too"),
        (["search", "--space", "tiny", "--recipe", "proxy"], "give --dry-run, too"),
        (["search", "--space", "tiny", "--budget", "5m", "--dry-run"], "--hardware give --steps or --recipe"),
        ([*ONES, "--dry-run", "--workers", "3"], "does not divide among 3 workers"),
        ([*ONES, "--dry-run", "--precision", "bf16"], "profile --precision bf16"),
        (["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008", "--dry-run"], "--hardware does not go"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_a_line(
    words: list[str], says: str, planted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused([*words, "--hardware", planted], capsys)


@pytest.mark.slow
def test_a_profile_without_an_exchange_predicts_one_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = str(write(tmp_path / "alone.json", exchange=None))
    words = [*ONES, "--dry-run", "--hardware", alone]
    assert "widest" not in said(words, capsys)
    assert '"exchange"' in refused([*words, "--workers", "2"], capsys)


def test_profile_writes_its_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "measure_machine", lambda compute: machine(hardware=str(compute.device)))
    out = tmp_path / "here.json"
    words = ["profile", "-o", str(out), "--device", "cpu", "--precision", "fp32"]
    text = said(words, capsys)
    assert json.loads(out.read_text())["hardware"] == "cpu"
    assert "a core decodes 1,000 frames" in text
    assert f"--hardware {out}" in text
    assert main(words) == 5
    assert "is there already" in capsys.readouterr().err


def test_a_stopped_profile_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "measure_machine", stop)
    assert main(["profile", "-o", str(tmp_path / "here.json"), "--device", "cpu", "--precision", "fp32"]) == 130
    assert "nothing is written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
