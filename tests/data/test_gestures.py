"""The gestures: as many videos as the set's name stands for, whose classes lie in the hand's path alone."""

from pathlib import Path

import numpy as np
import pytest

from autovid.cli import main
from autovid.data import open_videos
from autovid.data.gestures import GESTURES, LONG, RECIPES, GestureRecipe, draw, draw_gesture, write_gestures
from autovid.data.video import VideoFile
from autovid.errors import RunError

SMALL = GestureRecipe((1, 2, 3), long=("swipe", "wave"), long_frames=20)


def test_the_small_set_is_a_folder_of_9_40_and_300_videos(tmp_path: Path) -> None:
    small = RECIPES["gestures-small"]
    write_gestures(tmp_path / "small", GestureRecipe(small.videos, frames=2, side=16), workers=2)
    videos = open_videos(tmp_path / "small")
    labels = [videos.classes[video.label] for video in videos.videos]
    assert [labels.count(name) for name in ("circle", "swipe", "wave")] == [9, 40, 300]
    assert len([*(tmp_path / "small").rglob("*.*")]) == 349
    assert videos.flip  # a mirrored gesture is the same gesture


def test_processes_write_what_one_writes(tmp_path: Path) -> None:
    paths = write_gestures(tmp_path / "one", SMALL)
    write_gestures(tmp_path / "two", SMALL, workers=2)
    assert sorted(paths) == sorted(str(file.relative_to(tmp_path / "two")) for file in tmp_path.glob("two/**/*.mp4"))
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in paths)


def test_the_other_set_has_other_videos() -> None:
    first, second = (next(draw_gesture("wave/000.mp4", recipe)).astype(int) for recipe in RECIPES.values())
    assert abs(first - second).mean() > 10


@pytest.mark.slow
def test_one_frame_says_nothing_of_the_gesture() -> None:
    """The first frame of a drawing is the same for all; later the hand is anywhere, whatever its path."""
    recipe = GestureRecipe((1, 1, 1), frames=6)
    first = [next(draw([name], 6, recipe, np.random.default_rng(5))) for name in GESTURES]
    # Bytes: the same code draws with the same random numbers; the way travelled is 0 for every gesture.
    assert all(np.array_equal(first[0], other) for other in first[1:])
    for name in GESTURES:
        last = [[*draw([name], 6, recipe, np.random.default_rng(seed))][-1] for seed in range(150)]
        spread = np.exp(2j * np.pi * np.array([place(frame) for frame in last]))
        # The mean of 150 uniform phases is 0.07 long on average, and above 0.25 once in 10,000 draws.
        assert (abs(spread.mean(0)) < 0.25).all()


def place(frame: np.ndarray) -> tuple[float, float]:
    """Where the hand is, right and down, in parts of the picture: the mean place of the rarer of light and dark."""
    light = frame.mean(2) > 115
    hand = light if light.mean() < 0.5 else ~light
    x, y = (np.exp(2j * np.pi * np.arange(len(hand)) / len(hand)) @ hand.sum(axis) for axis in (0, 1))
    return float(np.angle(x) / 2 / np.pi % 1), float(np.angle(y) / 2 / np.pi % 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", GESTURES)
def test_the_hand_goes_as_the_name_says(name: str, number: int, tmp_path: Path) -> None:
    """Read back through the decoder."""
    recipe, file = RECIPES["gestures-small"], tmp_path / f"{name}/000.mp4"
    write_gestures(tmp_path, GestureRecipe((1, 1, 1), seed=number))
    with VideoFile(file) as video:
        frames = [*video.all_frames(1000)]
    assert np.shape(frames) == (50, recipe.side, recipe.side, 3)
    path = np.unwrap([place(frame) for frame in frames], axis=0, period=1)
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    wide, narrow = np.linalg.svd(path - path.mean(0))[1]
    straight = np.linalg.norm(path[-1] - path[0]) / length
    # What a hand covers is measured to a fraction of a pixel of 64, and a circle may be little more than half of one.
    assert (narrow / wide > 0.25) == (name == "circle")
    assert (straight > 0.9) == (name == "swipe")


def test_gestures_of_the_long_video_follow_each_other(tmp_path: Path) -> None:
    write_gestures(tmp_path, SMALL)
    with VideoFile(tmp_path / LONG) as video:
        path = np.unwrap([place(frame) for frame in video.all_frames(100)], axis=0, period=1)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert len(path) == 40
    assert steps.max() < 0.1  # the hand never jumps
    assert np.ptp(steps[:19]) < 0.02  # it swipes first, at one speed


def test_the_command_says_what_it_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "gestures-new", SMALL)
    folder = tmp_path / "set"
    assert main(["data", "synthetic", "gestures-new", "-o", str(folder), "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: videos of a hand, a folder a class: 1 of circle, 2 of swipe, 3 of wave; and {LONG}",
        f"next   autovid data index folders {folder} -o {folder}.csv",
    ]
    assert main(["data", "check", str(folder)]) == 0  # the long video is of no class


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write into"):
        write_gestures(tmp_path / "file", SMALL)
