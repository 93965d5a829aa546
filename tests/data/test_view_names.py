from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autovid.clip import Clip
from autovid.data import ClipLoader, Video
from autovid.data.images import open_video
from autovid.data.loader import normalised
from autovid.data.transforms import shrink
from autovid.data.views import Views, views_name, views_of
from autovid.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "name", "clips", "crops", "total"),
    [
        ("center", "center", 1, 1, 1),
        ("1", "center", 1, 1, 1),
        ("1-center", "center", 1, 1, 1),
        ("3", "lcr", 1, 3, 3),
        ("10", "10-center", 10, 1, 10),
        ("30", "10-lcr", 10, 3, 30),
        ("2-lcr", "2-lcr", 2, 3, 6),
        ("2-center", "2-center", 2, 1, 2),
        ("center@256", "center@256", 1, 1, 1),
        ("1@256", "center@256", 1, 1, 1),
        ("30@288", "10-lcr@288", 10, 3, 30),
    ],
)
def test_views_have_one_name_and_are_counted(written: str, name: str, clips: int, crops: int, total: int) -> None:
    views = views_of(written)
    assert (views_name(written), views.clips, len(views.places), views.total) == (name, clips, crops, total)


def test_three_crops_lie_left_in_the_middle_and_right() -> None:
    assert views_of("lcr") == Views(1, (0.0, 0.5, 1.0))


def test_a_short_side_may_follow() -> None:
    assert views_of("2-lcr@288") == Views(2, (0.0, 0.5, 1.0), 288)
    assert views_of("center").short_side is None


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "5",
        "0-center",
        "101-center",
        "10-left",
        "lcr-10",
        "x-lcr",
        "10-center ",
        "center@",
        "center@0",
        "center@-1",
        "center@2049",
        "center@२५६",
        "@256",
        "center@256@256",
    ],
)
def test_others_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="10-lcr"):
        views_of(wrong)


def frame_folder(path: Path, height: int, width: int) -> Path:
    path.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path / "00001.jpg")
    return path


@pytest.mark.parametrize(
    ("views", "corners"),
    [("center", [(0, 5)]), ("center@36", [(2, 8)]), ("lcr@36", [(2, 0), (2, 8), (2, 16)])],
)
@pytest.mark.parametrize("turned", [False, True])
def test_crops_are_cut_amid_the_short_side(
    views: str, corners: list[tuple[int, int]], turned: bool, tmp_path: Path
) -> None:
    """Of 72 x 96 pixels, the crop 32: a short side of 36 leaves out a border of 2, as MMAction2's 256 does of 16."""
    folder = frame_folder(tmp_path / "video", *((96, 72) if turned else (72, 96)))
    with open_video(folder) as file:
        (whole,) = file.frames(
            np.zeros(1, dtype=np.int64), lambda frame: shrink(frame, views_of(views).short_side or 32)
        )
    clip = Clip(1, 32)
    with open_video(folder) as file:
        loader = ClipLoader([Video("video", 0)], tmp_path, clip, batch=3, train=False, views=views)
    places = [(across, down) if turned else (down, across) for down, across in corners]
    cut = np.stack([whole[None, top : top + 32, left : left + 32] for top, left in places])
    assert torch.equal(next(loader.views_batches()).x, normalised(cut, clip))  # the same bytes by the same function
