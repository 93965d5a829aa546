"""Real recordings, where they are, through everything that happens to one's own videos: index to evaluation."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from autovid.cli import main

RECORDINGS = Path(__file__).parents[3] / "shared" / "videos"
FILES = sorted(file for kind in ("*.mp4", "*.avi") for file in RECORDINGS.glob(kind))


@pytest.mark.slow
@pytest.mark.skipif(len(FILES) < 3, reason="needs the three recordings beside the project")
def test_real_recordings_are_indexed_checked_copied_trained_on_and_evaluated(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for file in FILES[:3]:
            folder = tmp_path / "mine" / split / file.name
            folder.mkdir(parents=True)
            shutil.copy(file, folder)
    index, small, run = tmp_path / "mine.csv", tmp_path / "small", tmp_path / "run"
    assert main(["data", "index", "folders", str(tmp_path / "mine"), "-o", str(index)]) == 0
    assert len(list(csv.DictReader(index.open()))) == 6
    assert main(["data", "check", str(index), "--workers", "1"]) == 0
    assert main(["data", "resize", str(index), "-o", str(small), "--short", "48", "--workers", "1"]) == 0
    copy = next(small.glob("*.csv"))
    words = ["train", "tsn_resnet18", "--data", str(copy), "--recipe", "proxy", "--epochs", "1", "--batch", "3"]
    words += ["--frames", "2", "--crop", "32", "--jitter", "32:40", "--device", "cpu", "--precision", "fp32"]
    assert main([*words, "-o", str(run)]) == 0
    assert main(["evaluate", str(run), "--views", "2-lcr"]) == 0
    content = json.loads((run / "evaluation-2-lcr.json").read_text())
    assert (content["videos"], content["decoded"], content["views_per_video"]) == (3, 3, 6)
