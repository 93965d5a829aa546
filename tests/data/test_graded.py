"""The graded synthetic set: same bytes everywhere, classes that an index names, motion that lies in time alone."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autovid.cli import main
from autovid.data import gestures, graded, open_videos
from autovid.data.graded import CLASSES, RECIPES, GradedRecipe, clip_noise, draw_clip, write_graded
from autovid.data.video import VideoFile
from autovid.errors import RunError

SMALL = GradedRecipe(train=1, val=1)
CLEAN = GradedRecipe(noise=(1e-9, 2e-9), contrast=(1.0, 1.1), spread=0.0, speeds=((1.0, 1.0001), (2.0, 2.0001)))


def grey(path: str, recipe: GradedRecipe) -> np.ndarray:
    """A clip without its mean, (T, H, W)."""
    frames = draw_clip(path, recipe).astype(float).mean(3)
    return frames - frames.mean()


def test_the_set_is_large_enough_to_judge_by() -> None:
    for recipe in RECIPES.values():
        assert len(CLASSES) == 24
        assert recipe.val * len(CLASSES) >= 2000


def test_it_is_read_back_by_its_index_as_files(tmp_path: Path) -> None:
    written = write_graded(tmp_path, SMALL)
    videos = open_videos(tmp_path / "bench.csv")
    assert (videos.classes, videos.flip) == (CLASSES, False)  # left and right are classes
    assert (videos.train, videos.val) == (written.train, written.val)
    assert [video.label for video in videos.train] == list(range(24))
    path = videos.train[5].path
    with VideoFile(tmp_path / path) as file:
        seen = np.stack(list(file.all_frames(10_000)))
    drawn = draw_clip(path, SMALL)
    assert seen.shape == drawn.shape == (16, 16, 16, 3)
    # H.264 keeps the signal: its error in grey is a small part of the texture's deviation.
    error = seen.astype(float).mean(3) - drawn.astype(float).mean(3)
    assert error.std() < 0.3 * drawn.astype(float).mean(3).std()


def test_processes_write_what_one_writes(tmp_path: Path) -> None:
    write_graded(tmp_path / "one", SMALL)
    write_graded(tmp_path / "two", SMALL, workers=2)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 2 * 24 + 2
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_the_splits_and_numbers_are_other_videos() -> None:
    paths = ("train/fine-up-slow/0000.mp4", "val/fine-up-slow/0000.mp4", "train/fine-up-slow/0001.mp4")
    first, *others = (draw_clip(path, SMALL) for path in paths)
    assert all((first != other).mean() > 0.5 for other in others)


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("right", 2, 1), ("left", 2, -1), ("down", 1, 1), ("up", 1, -1)]
)
@pytest.mark.parametrize(("speed", "pixels"), [("slow", 1), ("fast", 2)])
def test_the_texture_moves_as_its_class_says(direction: str, axis: int, sign: int, speed: str, pixels: int) -> None:
    clip = grey(f"train/coarse-{direction}-{speed}/0000.mp4", CLEAN)
    shifts = [sign * pixels, -sign * pixels, 0]
    errors = [np.abs(np.roll(clip[:-1], s, axis)[:, 4:-4, 4:-4] - clip[1:, 4:-4, 4:-4]).mean() for s in shifts]
    assert errors[0] < 2  # rounding, and the speed's range
    assert min(errors[1:]) > 4 * errors[0]


def test_a_single_frame_shows_the_texture() -> None:
    """Finer textures have steeper gradients."""
    gradients = [
        np.mean([np.abs(np.diff(grey(f"train/{t}-up-slow/{i:04d}.mp4", CLEAN), axis=2)).mean() for i in range(8)])
        for t in graded.TEXTURES
    ]
    assert gradients == sorted(gradients)


def test_planted_motion_is_not_in_every_fourth_frame() -> None:
    """The sparse stream of `bench` sees every fourth frame: there, no two are of one texture."""
    planted = GradedRecipe(noise=(1e-9, 2e-9), spread=0.0, renew=4)

    def likeness(step: int, first: int) -> float:
        clips = [grey(f"train/coarse-up-slow/{i:04d}.mp4", planted)[first::step] for i in range(24)]
        return float(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for clip in clips for a, b in pairwise(clip)]))

    assert RECIPES["planted"].renew == 4
    assert abs(likeness(4, 0)) < 0.2
    assert likeness(1, 0) > 0.4


def test_the_command_writes_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "planted", GradedRecipe(train=2, val=1, renew=4))
    assert main(["data", "synthetic", "planted", "-o", str(tmp_path / "set"), "--workers", "1"]) == 0
    assert "24 classes, 48 videos to train on, 24 to validate" in capsys.readouterr().out
    assert open_videos(tmp_path / "set" / "planted.csv").name == "planted"


def test_the_command_offers_what_there_is() -> None:
    from autovid.cli.data import GESTURES, GRADED

    assert (set(RECIPES), set(gestures.RECIPES)) == (set(GRADED), set(GESTURES))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write into"):
        write_graded(tmp_path / "file", SMALL)


def test_the_noise_of_a_video_is_known() -> None:
    recipe = GradedRecipe(speeds=((1e-4, 2e-4), (1e-4, 2e-4)), contrast=(1.0, 1.1))  # so that frames differ by noise
    paths = [f"train/coarse-up-slow/{number:04d}.mp4" for number in range(12)]
    known = [clip_noise(path, recipe) for path in paths]
    assert all(0.05 <= noise <= 1 for noise in known)
    seen = [grey(path, recipe) for path in paths]
    shares = [(clip - clip.mean(0)).std() / clip.mean(0).std() for clip in seen]
    assert np.corrcoef(np.log(shares), np.log(known))[0, 1] > 0.9  # textures' own deviations in a window differ
