"""A folder of JPEG frames is a video like any other; only the wanted pictures are opened."""

import os
from pathlib import Path

import numpy as np
import pytest
from counting import counting_frames, counts
from PIL import Image

from autovid.clip import Clip
from autovid.data import ClipLoader, Video, open_videos
from autovid.data.images import FrameFolder, JpegDecoder, open_video
from autovid.data.video import VideoError


def folder(path: Path, template: str = "{:05d}.jpg", first: int = 1, n: int = 30) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(counting_frames(n)):
        Image.fromarray(frame).save(path / template.format(first + i), quality=95)
    return path


def read(path: Path, indices: list[int], *part: float) -> list[int]:
    with open_video(path, *part) as video:
        return counts(video.frames(np.array(indices), lambda image: image))


@pytest.mark.parametrize("template", ["{:05d}.jpg", "img_{:05d}.jpg", "{}.jpeg", "v-1_{:06d}.JPG"])
def test_the_naming_is_found_and_numbers_are_in_order(template: str, tmp_path: Path) -> None:
    assert read(folder(tmp_path / "a", template), [0, 29, 3, 3, 10]) == [0, 29, 3, 3, 10]


def test_only_the_wanted_pictures_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    plain = JpegDecoder.decode
    monkeypatch.setattr(JpegDecoder, "decode", lambda self, path: opened.append(path) or plain(self, path))
    assert read(folder(tmp_path / "a"), list(range(0, 30, 5))) == list(range(0, 30, 5))
    assert len(opened) == 6


def test_start_and_end_are_numbers_of_frames(tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    with open_video(path, 11, 21) as video:
        assert len(video) == 10
        assert video.seconds == pytest.approx(np.arange(10, 20) / 25)  # one division
    assert read(path, [0, 9], 11, 21) == [10, 19]
    with pytest.raises(VideoError, match="no frames from number 31 on; the last is 30$"):
        open_video(path, 31)


def test_flow_beside_colour_is_passed_over_and_two_equals_are_refused(tmp_path: Path) -> None:
    for name in ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", "img_{:05d}.jpg"):
        folder(tmp_path / "a", name, n=8)
    (tmp_path / "a" / "poster.jpg").touch()
    assert read(tmp_path / "a", [0, 7]) == [0, 7]
    for name in ("left_{:05d}.jpg", "right_{:05d}.jpg"):
        folder(tmp_path / "b", name, n=8)
    with pytest.raises(VideoError, match=r"several series of frames: left_00001\.jpg, right_00001\.jpg"):
        open_video(tmp_path / "b")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_picture_that_is_cut_short_is_said_so(kept: float, tmp_path: Path) -> None:
    path = folder(tmp_path / "a", n=3)
    data = (path / "00002.jpg").read_bytes()
    (path / "00002.jpg").write_bytes(data[: int(len(data) * kept)])
    assert read(path, [0, 2]) == [0, 2]
    with pytest.raises(VideoError, match=r"00002\.jpg: not a JPEG file, or a truncated one"):
        read(path, [1])


def test_a_picture_whose_middle_is_missing_is_damaged(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", n=3)
    data = (path / "00002.jpg").read_bytes()
    (path / "00002.jpg").write_bytes(data[: len(data) // 2] + data[-2:])
    with pytest.raises(VideoError, match=r"00002\.jpg: "):
        read(path, [1])


def test_what_is_no_frame_is_said_with_its_name(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", n=3)
    Image.new("RGB", (48, 64)).save(path / "00003.jpg")
    with pytest.raises(VideoError, match="different sizes"):
        read(path, [0, 2])
    Image.new("RGB", (48, 64)).save(path / "00003.jpg", format="PNG")
    with pytest.raises(VideoError, match=r"00003\.jpg: not a JPEG"):
        read(path, [2])
    Image.new("L", (9000, 8)).save(path / "00003.jpg")
    with pytest.raises(VideoError, match="of 9000x8 pixels"):
        read(path, [2])
    (tmp_path / "b").mkdir()
    with pytest.raises(VideoError, match="without numbered JPEG files"):
        open_video(tmp_path / "b")


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"progressive": True}, {"optimize": True}, {"quality": 100}]
)
def test_pictures_are_what_another_library_makes_of_them(options: dict[str, object], tmp_path: Path) -> None:
    rows, columns = np.mgrid[:60, :82].astype(float)
    smooth = np.stack([128 + 100 * np.sin(rows / 9), 2 * columns + 40, 255 - 3 * rows], axis=-1).astype(np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(smooth).save(tmp_path / "a" / "1.jpg", **{"quality": 90, **options})
    with FrameFolder(tmp_path / "a") as video:
        got = video.frames(np.array([0]), lambda image: image)[0].astype(int)
    with Image.open(tmp_path / "a" / "1.jpg") as image:
        assert abs(got - np.asarray(image)).mean() < 3  # colour is stored at half the size; they enlarge it differently


def test_links_and_pipes_are_no_frames(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", n=3)
    (path / "00004.jpg").symlink_to(path / "00001.jpg")
    os.mkfifo(path / "00005.jpg")
    with open_video(path) as video:
        assert len(video) == 3


def test_grey_pictures_become_rgb(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (64, 48), 90).save(tmp_path / "a" / "1.jpg")
    with FrameFolder(tmp_path / "a") as video:
        assert video.frames(np.array([0]), lambda image: image).shape == (1, 48, 64, 3)
        assert [frame.shape for frame in video.all_frames(24)] == [(24, 32, 3)]
        assert [frame.shape for frame in video.all_frames(256)] == [(48, 64, 3)]


def test_a_set_of_frame_folders_is_read_by_class_and_by_csv_and_loaded(tmp_path: Path) -> None:
    folder(tmp_path / "run" / "one", n=8)
    folder(tmp_path / "run" / "deep" / "two", "img_{:05d}.jpg", n=8)
    folder(tmp_path / "sit" / "three", n=8)
    by_class = open_videos(tmp_path, holdout=0)
    assert by_class.train == (Video("run/deep/two", 0), Video("run/one", 0), Video("sit/three", 1))
    (tmp_path / "list.csv").write_text("path,label,start,end\nrun/one,a,3,7\nsit/three,b,,\n")
    by_csv = open_videos(tmp_path / "list.csv", holdout=0)
    loader = ClipLoader(by_csv.train, by_csv.root, Clip(4, 48), batch=2, train=False)
    batch = next(loader.views_batches())
    assert batch.x.shape == (2, 3, 4, 48, 48)
    assert not loader.faults.reasons
