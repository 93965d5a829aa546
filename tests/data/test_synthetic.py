"""The embedded data set is written once, is the same everywhere, and its motions are in the order of frames alone."""

import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autovid.data import open_videos, synthetic
from autovid.data.synthetic import CLASSES, SyntheticRecipe, draw, synthetic_folder, write_synthetic
from autovid.data.video import VideoFile
from autovid.errors import DataError
from autovid.fileio import cache_folder

SMALL = SyntheticRecipe(train=1, val=1, frames=8, side=32)


def test_the_default_set_has_twelve_balanced_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthetic, "write_video", lambda path, *args, **kwargs: path.touch())
    videos = open_videos("synthetic", cache=tmp_path)
    assert videos.name == "synthetic"
    assert videos.classes == CLASSES
    assert len(CLASSES) == 12
    for split, each in ((videos.train, 64), (videos.val, 24)):
        assert [sum(video.label == label for video in split) for label in range(12)] == [each] * 12
    assert not videos.flip  # left and right are classes


def test_it_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = synthetic_folder(tmp_path, SMALL)
    monkeypatch.setattr(synthetic, "write_synthetic", lambda *args: pytest.fail("written again"))
    assert synthetic_folder(tmp_path, SMALL) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]  # nothing is left lying about


def test_another_recipe_is_another_folder(tmp_path: Path) -> None:
    assert synthetic_folder(tmp_path, SMALL) != synthetic_folder(
        tmp_path, SyntheticRecipe(train=1, val=1, frames=9, side=32)
    )


def test_two_writings_are_equal_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by one thread and by several."""
    write_synthetic(tmp_path / "a", SMALL)
    monkeypatch.setattr(synthetic.os, "cpu_count", lambda: 1)
    write_synthetic(tmp_path / "b", SMALL)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.mp4"))
    assert len(files) == 24
    # The same frames, which are bytes, through the same encoder with the same settings.
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert len({(tmp_path / "a" / file).read_bytes() for file in files}) == 24


def test_processes_that_come_at_once_end_with_one_whole_set(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from autovid.data.synthetic import SyntheticRecipe, synthetic_folder;"
        f"print(synthetic_folder(Path({str(tmp_path)!r}), SyntheticRecipe(train=1, val=1, frames=8, side=32)))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(printed) == 1
    assert [path.name for path in tmp_path.iterdir()] == [Path(printed.pop().strip()).name]
    assert len(list(tmp_path.rglob("*.mp4"))) == 24


def test_a_writing_that_is_broken_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_video", stop)
        with pytest.raises(KeyboardInterrupt):
            synthetic_folder(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []
    assert len(list(synthetic_folder(tmp_path, SMALL).rglob("*.mp4"))) == 24


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write the synthetic videos to .*file.*set AUTOVID_CACHE"):
        synthetic_folder(tmp_path / "file")


def test_a_pyav_without_h264_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "can_write", lambda: False)
    with pytest.raises(DataError, match="cannot write H.264"):
        synthetic_folder(tmp_path, SMALL)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AUTOVID_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "autovid"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "autovid"
    monkeypatch.setenv("AUTOVID_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def frames(name: str, seed: int) -> np.ndarray:
    return np.stack(list(draw(name, SyntheticRecipe(), np.random.default_rng(seed)))).astype(np.int16)


@pytest.mark.parametrize("seed", range(3))
def test_one_frame_shows_the_shape_and_nothing_of_the_motion(seed: int) -> None:
    first = {name: frames(name, seed)[0] for name in CLASSES}
    for name, image in first.items():
        for other, picture in first.items():
            assert np.array_equal(image, picture) == (name.split("-")[0] == other.split("-")[0])


def test_shapes_differ_in_nothing_but_their_look() -> None:
    """Same place, same way, same textures: the frames of two shapes differ where the shape is, and only there."""
    for motion in ("left-rising", "right-sinking"):
        cross, disc, triangle = (frames(f"{shape}-{motion}", 1) for shape in ("cross", "disc", "triangle"))
        for other in (disc, triangle):
            differs = (cross != other).any(axis=-1)
            assert differs.any(axis=(1, 2)).all()
            assert differs.mean() < 0.15
            assert differs.any(axis=(0, 2)).sum() < 42  # rows that a shape of at most 2 x 19 pixels can reach


@pytest.mark.parametrize("name", CLASSES)
def test_the_motions_are_what_their_names_say(name: str, tmp_path: Path) -> None:
    """Read back through the decoder: the shape by what changes most, the ground by how its rows shift."""
    _, direction, drift = name.split("-")
    path = write_one(tmp_path, name)
    with VideoFile(path) as file:
        shown = file.frames(np.arange(12), lambda image: image).astype(np.float64)
    assert shown.shape == (12, 72, 72, 3)
    assert np.sign(shift(shown.mean(axis=1))) == (1 if direction == "right" else -1)
    ground = np.roll(shown, 2, axis=1)[:, :5]  # the rows that no shape reaches; above the first comes the last
    assert np.sign(shift(ground)) == (1 if drift == "sinking" else -1)


def write_one(folder: Path, name: str) -> Path:
    path = folder / "one.mp4"
    synthetic.write_video(path, draw(name, SyntheticRecipe(frames=12), np.random.default_rng(5)), quality=26, gop=16)
    return path


def shift(lines: np.ndarray) -> int:
    """By how many places along axis 1 each frame fits the next best, -3..3, summed over all."""

    def misfit(a: np.ndarray, b: np.ndarray, by: int) -> float:
        return float(((a[max(0, -by) : len(a) - max(0, by)] - b[max(0, by) : len(b) - max(0, -by)]) ** 2).mean())

    return sum(min(range(-3, 4), key=partial(misfit, a, b)) for a, b in pairwise(lines))
