"""One clip of one file, and the times of its frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from counting import counting_frames, counts, write

from autovid.clip import Clip
from autovid.data import ClipLoader, Video
from autovid.data.clips import read_clip
from autovid.data.loader import normalised
from autovid.data.video import VideoFile
from autovid.errors import DataError


def test_frames_come_with_their_times(counting: Path) -> None:
    pixels, seconds = read_clip(counting, Clip(4, 48, stride=5))
    assert pixels.shape == (4, 48, 48, 3)
    assert seconds == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-6)  # whole ticks of the file, a division each
    _, seconds = read_clip(counting, Clip(3, 48, sampling="uniform"))
    assert seconds == pytest.approx([0.4, 1.2, 2.0], abs=1e-6)


def test_times_are_the_files_own_and_count_from_its_start(tmp_path: Path) -> None:
    stamps = [500, 510, 540, 700]
    path = write(tmp_path / "uneven.mkv", counting_frames(4), pts=stamps)
    with VideoFile(path) as file:
        assert file.seconds == pytest.approx([0, 0.1, 0.4, 2.0], abs=1e-3)  # the ticks of a Matroska file
        assert counts(file.frames(np.arange(4), lambda image: image)) == [0, 1, 2, 3]
    with VideoFile(path, start=0.3) as file:
        assert file.seconds == pytest.approx([0.4, 2.0], abs=1e-3)


def test_it_is_what_evaluation_sees(counting: Path) -> None:
    clip = Clip(6, 40, stride=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    loader = ClipLoader([Video(counting.name, 0)], counting.parent, clip, batch=1, train=False)
    pixels, _ = read_clip(counting, clip)
    assert torch.equal(next(loader.views_batches()).x, normalised(pixels[None], clip))  # the same code twice


def test_what_cannot_be_read_is_one_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "nothing.mp4", "."):
        with pytest.raises(DataError, match=str(tmp_path / name)):
            read_clip(tmp_path / name, Clip(4, 48))
