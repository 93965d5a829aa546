"""A video in windows along its timeline: nothing left out, nothing twice, and each window like a video of its own."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting import counting_frames, write

from autovid.clip import Clip
from autovid.data import video as video_module
from autovid.data.clips import covering, read_windows
from autovid.data.clips import test_indices as view_indices
from autovid.data.encoding import write_video
from autovid.data.images import open_video
from autovid.data.synthetic import SyntheticRecipe, draw
from autovid.data.transforms import crop_at, shrink
from autovid.data.video import MissingFrames
from autovid.errors import ConfigError, DataError

DENSE = Clip(4, 24, stride=2)
UNIFORM = Clip(4, 24, sampling="uniform")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.2 s: 55 frames at 25 a second."""
    path = tmp_path_factory.mktemp("windows") / "a.mp4"
    frames = draw("disc-left-rising", SyntheticRecipe(frames=55, side=40), np.random.default_rng(0))
    write_video(path, frames, quality=20, gop=12)
    return path


@pytest.mark.parametrize("clip", [DENSE, UNIFORM])
def test_a_window_is_seen_like_a_video_of_its_own(video: Path, clip: Clip) -> None:
    for start, end, pixels in read_windows(video, clip, 0.8):
        with open_video(video, start, end) as part:
            indices = view_indices(len(part), clip, len(pixels))
            frames = part.frames(indices.reshape(-1), partial(shrink, short_side=clip.crop))
        # Bytes: a decoder's frames are defined to the bit, and the same code makes each of them smaller.
        assert np.array_equal(pixels, crop_at(frames, clip.crop, 0.5).reshape(pixels.shape))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_a_video_is_decoded_once_for_all_windows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVI has no time stamps to seek by: each window would begin at the first frame again."""
    write(tmp_path / name, counting_frames(60), gop=60)
    sent: list[Any] = []
    decoded = video_module.decoded
    monkeypatch.setattr(video_module, "decoded", lambda *packet: sent.append(packet) or decoded(*packet))
    assert len(list(read_windows(tmp_path / name, DENSE, 0.2))) == 12
    assert len(sent) <= 60 + 2


def test_frames_that_the_pass_misses_are_read_by_themselves(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [window.pixels for window in read_windows(video, UNIFORM, 0.8)]
    monkeypatch.setattr(video_module.VideoFile, "each", lambda *_: iter(()))  # as if none had been decoded
    again = [window.pixels for window in read_windows(video, UNIFORM, 0.8)]
    # Bytes, as above.
    assert all(np.array_equal(*pair) for pair in zip(expected, again, strict=True))


def test_damaged_windows_are_left_out_and_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.mp4", counting_frames(60), gop=5)
    whole = [window.pixels for window in read_windows(tmp_path / "a.mp4", DENSE, 0.2)]
    each = video_module.VideoFile.each
    bad = {*range(15, 40)}  # windows 3 to 7, and the last frame of window 2 (3 * 0.2 > 0.6), which has four

    def some(self: Any, *arguments: Any) -> Any:
        return ((number, image) for number, image in each(self, *arguments) if number not in bad)

    looks: list[int] = []

    def again(self: Any, indices: Any, take: Any) -> Any:
        looks.append(int(indices[0]))
        raise MissingFrames(indices, len(indices))

    monkeypatch.setattr(video_module.VideoFile, "each", some)
    monkeypatch.setattr(video_module.VideoFile, "frames", again)
    lost: list[float] = []
    left = {
        round(5 * window.start): window.pixels
        for window in read_windows(tmp_path / "a.mp4", DENSE, 0.2, damaged=lost.append)
    }
    assert [round(5 * start) for start in lost] == [3, 4, 5, 6, 7]
    assert sorted(left) == [0, 1, 2, 8, 9, 10, 11]
    assert [number for number in left if not np.array_equal(left[number], whole[number])] == [2]
    assert np.array_equal(left[2][0, 3], whole[2][0, 2])  # a neighbour stands in
    assert looks == [10]
    with pytest.raises(DataError, match=r"a\.mp4: frames from 0\.6 to 0\.8 s cannot be decoded"):
        list(read_windows(tmp_path / "a.mp4", DENSE, 0.2))
    bad |= {*range(60)}
    with pytest.raises(DataError, match="cannot be decoded"):
        list(read_windows(tmp_path / "a.mp4", DENSE, 0.2, damaged=lost.append))


@pytest.mark.parametrize(
    ("length", "edges"),
    [
        (None, [0, 2.2]),
        (5.0, [0, 2.2]),
        (0.8, [0, 0.8, 1.6, 2.2]),
        (1.0, [0, 1, 2.2]),  # a rest of 0.2 s joins the window before it
        (0.5, [0, 0.5, 1, 1.5, 2.2]),
    ],
)
def test_windows_are_the_whole_timeline(video: Path, length: float | None, edges: list[float]) -> None:
    spans = [(window.start, window.end) for window in read_windows(video, DENSE, length)]
    # Float64: each edge is a product or a sum of two numbers, rounded by 1e-15; another one is a frame, 0.04 s, away.
    assert np.allclose(spans, list(pairwise(edges)), rtol=0, atol=1e-9)


def test_windows_grow_to_what_a_clip_spans(video: Path) -> None:
    wide = Clip(4, 24, stride=8)  # 25 frames of 0.04 s: 1 s
    # as above
    assert [window.end for window in read_windows(video, wide, 0.3, whole_clips=True)] == [1, pytest.approx(2.2)]
    assert len(list(read_windows(video, DENSE, 0.5, whole_clips=True))) == 4


def test_a_window_holds_a_frame(video: Path) -> None:
    assert len(list(read_windows(video, DENSE, 0.04))) == 55
    with pytest.raises(ConfigError, match=r"a\.mp4: windows of 1e-07 s are shorter than a frame; give 0\.04 or more"):
        next(read_windows(video, DENSE, 1e-7))


def test_clips_cover_a_window_ten_at_most() -> None:
    assert [covering(frames, DENSE) for frames in (1, 7, 8, 14, 15, 70, 71, 9999)] == [1, 1, 2, 2, 3, 10, 10, 10]
    assert covering(9999, UNIFORM) == 1
    starts = view_indices(15, DENSE, covering(15, DENSE))[:, 0]
    assert starts.tolist() == [0, 4, 8]  # each reaches over 7 frames


def test_a_single_frame_is_a_window_too(tmp_path: Path) -> None:
    frames = draw("disc-left-rising", SyntheticRecipe(frames=1, side=40), np.random.default_rng(0))
    write_video(tmp_path / "one.mp4", frames, quality=20, gop=12)
    (window,) = read_windows(tmp_path / "one.mp4", DENSE, 1.0)
    assert window.pixels.shape == (1, 4, 24, 24, 3)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"text\.mp4: not an mp4"):
        list(read_windows(tmp_path / "text.mp4", DENSE))
