"""A batch that leaves batch norm a single value of each channel is one line, in search and training."""

from pathlib import Path

import pytest

from autovid.cli import main

SMALL = ["--batch", "1", "--crop", "16", "--jitter", "16:20", "--device", "cpu", "--precision", "fp32"]


@pytest.mark.parametrize(
    "words",
    [
        ["search", "--space", "tiny", "--steps", "1", "--samples", "2", "--frames", "4"],
        ["train", "tsn_resnet18", "--epochs", "0.1", "--frames", "1"],
    ],
    ids=["search", "train"],
)
def test_one_value_a_channel_is_one_line(
    words: list[str], tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--recipe", "proxy", "--data", str(tiny_videos), "-o", str(tmp_path / "run")]
    assert main([*words, *SMALL, *out]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "one value of each channel" in lines[-1]
    assert "Traceback" not in "".join(lines)
