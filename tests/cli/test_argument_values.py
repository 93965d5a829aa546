"""Values that are one line: a batch with a single value of each channel. And words that are printed without secrets."""

import sys
from pathlib import Path

import pytest

from autovid.cli import main, options

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


URL, SHOWN = "http://me:PASS@host:1/x?key=SECRET", "http://host:1/x"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (URL, SHOWN),
        (f"--data={URL}", f"--data={SHOWN}"),
        (f"data={URL}", f"data={SHOWN}"),
        (f"--set=data={URL}", f"--set=data={SHOWN}"),
        (f'data="{URL}"', f'data="{SHOWN}"'),
        (f"data={URL},{URL}", f"data={SHOWN},{SHOWN}"),
        ("{data: [https://me:PASS@h], x: 1}", "{data: [https://…}"),
        ("--data=https://me:PASS]@h/x", "--data=https://…"),
        (f"{URL},https://me:PASS]@h/x", f"{SHOWN},https://…"),
        ("s3://bucket/x/", "s3://bucket/x/"),
        ("hf://datasets/me/set@main/x", "hf://datasets/me/set@main/x"),
        ("user@host: what?", "user@host: what?"),
    ],
)
def test_a_command_is_written_down_without_the_secrets_of_addresses(
    word: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["autovid", "train", "x", word])
    assert options.own_words() == ["train", "x", shown]
    assert "PASS" not in options.resume_command("out")
    assert "SECRET" not in options.resume_command("out")
