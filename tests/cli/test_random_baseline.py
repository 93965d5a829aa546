import csv
from pathlib import Path

import pytest

from autovid.cli import main
from autovid.config.resources import search_spaces_dir
from autovid.run import RunDirectory
from autovid.space import load_space

SMALL = ["--epochs", "0.3", "--batch", "8", "--frames", "8", "--crop", "24", "--stride", "1", "--recipe", "proxy"]
SMALL += ["--device", "cpu", "--precision", "fp32", "--decoders", "0"]


@pytest.mark.slow
def test_it_compares_the_searched_one_with_its_like(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --flops and --space, these are the searched one's: here of somebody's own space."""
    with RunDirectory.create_or_resume(tmp_path / "search", {}, kind="search") as search:
        own = (search_spaces_dir() / "tiny.yaml").read_text().replace("name: tiny", "name: own")
        (search.path / "space.yaml").write_text(own)
        searched = load_space(search.path / "space.yaml").sample(1, seed=3)[0]
        searched.save(search.path / "architecture.yaml")
    words = ["random-baseline", "--searched", str(search.path / "architecture.yaml"), "-n", "2", *SMALL]
    words += ["--data", str(tiny_videos), "-o", str(tmp_path / "b")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "architecture 2 of 2" in shown
    assert "2 of 2 random architectures" in shown
    assert "space own" in shown
    with (tmp_path / "b" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["searched", "random", "random"]
    assert all(abs(int(row["macs"]) / searched.macs() - 1) <= 0.02 for row in rows)
    assert main([*words, "--resume"]) == 0
    assert "step" not in capsys.readouterr().out.replace("steps", "")  # no training is shown


@pytest.mark.slow
def test_a_searched_one_outside_the_range_is_noted_before_anything_is_trained(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (searched,) = load_space("tiny").sample(1, 0, (9_000_000, 9_100_000))
    searched.save(tmp_path / "searched.yaml")
    words = ["random-baseline", "--space", "tiny", "--data", str(tiny_videos), "-n", "1", *SMALL]
    words += ["--searched", str(tmp_path / "searched.yaml"), "-o", str(tmp_path / "b")]
    assert main([*words, "--flops", "0.0095:0.01"]) == 0
    shown = capsys.readouterr().out.splitlines()
    notes = [number for number, line in enumerate(shown) if line.startswith("The searched architecture has 0.009")]
    assert "% below the range of the random ones, 0.0095–0.01 GFLOPs" in shown[notes[0]]
    assert notes[0] < min(number for number, line in enumerate(shown) if "architecture" in line and "step" in line)
    assert shown[notes[-1]] == shown[notes[0]]
    assert shown[notes[-1] - 1].endswith("(outside the range)")
    assert "parameters: of the networks as trained, with 12 classes" in shown


def test_mistakes_are_one_line_each_with_their_exit_code(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["random-baseline", "--space", "tiny", "--data", str(tiny_videos), *SMALL, "-o", str(tmp_path / "b")]
    mistakes = [
        (common, 2, "--flops"),
        ([*common, "--flops", "2:1"], 2, "reversed"),
        ([*common, "--flops", "5:6"], 3, "0.0243"),  # the largest that can be reached
        ([*common, "--flops", "0.004031:0.004032", "-n", "1000"], 3, "1000"),
        ([*common, "--searched", str(tmp_path / "no.yaml")], 2, "no.yaml"),
        ([*common, "--flops", "0.010:0.011", "--data", str(tmp_path / "no")], 4, "no such folder"),
    ]
    for words, code, text in mistakes:
        assert main(words) == code, words
        captured = capsys.readouterr()
        error = captured.err.strip()
        assert text in error, words
        assert "\n" not in error
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("words", [["--gpus-per-trial", "1"], ["--cpus-per-trial", "2"], ["--at-once", "2"]])
def test_what_a_trial_gets_is_not_passed_over_where_there_are_no_trials(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008", "-n", "1", "-o", str(tmp_path / "b")]
    assert main([*command, *SMALL, *words]) == 2
    assert "give --address, too" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
