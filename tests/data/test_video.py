"""Reading frames: exactly the wanted ones, upright, in RGB, from every container and codec that data sets come in."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from counting import counting_frames, counts, write

from autovid.data import video
from autovid.data.video import VideoError, VideoFile

CONTAINERS = {
    "h264.mp4": {"codec": "libx264", "bf": "2"},
    "h264-open-gop.mp4": {"codec": "libx264", "bf": "3", "x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    "one-key-frame.mp4": {"codec": "libx264", "bf": "2", "gop": 250},
    "hevc.mp4": {"codec": "libx265", "x265-params": "log-level=none"},
    "h264.mkv": {"codec": "libx264", "bf": "2"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "h264.ts": {"codec": "libx264", "bf": "2"},
    "mpeg2.mpg": {"codec": "mpeg2video", "bf": "2", "container": "mpeg"},
    "mpeg4.avi": {"codec": "mpeg4", "bf": "2"},
    "h264.avi": {"codec": "libx264", "bf": "2"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "key-frames-only.mp4": {"codec": "libx264", "gop": 1},
}


def whole(frame: np.ndarray) -> np.ndarray:
    return frame


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_number_gives_its_own_frame(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = CONTAINERS[name]
    path = write(tmp_path / name, counting_frames(40), **options)
    with VideoFile(path) as file:
        assert len(file) == 40
        assert counts(file.frames(np.arange(40), whole)) == list(range(40))
        for wanted in ([0], [39], [13], [20, 3, 3, 39, 12], [11, 12, 13], [35, 0], list(range(2, 40, 5))):
            assert counts(file.frames(np.array(wanted), whole)) == wanted


def test_a_part_in_seconds_has_only_its_own_frames(counting: Path, tmp_path: Path) -> None:
    for path in (
        counting,
        write(tmp_path / "a.ts", counting_frames(60)),
        write(tmp_path / "a.avi", counting_frames(60)),
    ):
        with VideoFile(path, 0.8, 1.6) as file:
            assert len(file) == 20
            assert counts(file.frames(np.array([0, 19]), whole)) == [20, 39]
        with VideoFile(path, 2.0) as file:
            assert len(file) == 10
        for start in (9, 1e30):
            with pytest.raises(VideoError, match=r"no frames from [0-9e+]+ s on; the last is at 2\.3[0-9] s$"):
                VideoFile(path, start)
        with pytest.raises(VideoError, match=r"no frames from 7 to 8 s; the last is at 2\.3[0-9] s$"):
            VideoFile(path, 7, 8)
        with pytest.raises(VideoError, match=r"no frames from 1\.001 to 1\.002 s$"):
            VideoFile(path, 1.001, 1.002)


def test_frames_of_a_variable_rate_are_counted_not_timed(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 30, 31, 90, 91, 92, 200, 201]
    path = write(tmp_path / "variable.mp4", counting_frames(10), pts=stamps)
    with VideoFile(path) as file:
        assert counts(file.frames(np.arange(10), whole)) == list(range(10))
    with VideoFile(path, 0.3, 0.92) as file:
        assert counts(file.frames(np.arange(len(file)), whole)) == [3, 4, 5, 6]


def test_a_start_that_is_not_zero_is_time_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", counting_frames(20), pts=[500 + 4 * i for i in range(20)])
    with VideoFile(path, 0, 0.4) as file:
        assert counts(file.frames(np.arange(len(file)), whole)) == list(range(10))


def test_reading_the_end_does_not_decode_the_beginning(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    decoded = video.decoded
    monkeypatch.setattr(video, "decoded", lambda *packet: sent.append(packet) or decoded(*packet))
    with VideoFile(counting) as file:
        file.frames(np.array([58]), whole)
    assert len(sent) <= 14  # one group of 12 frames, and the flush


def test_far_frames_are_reached_by_seeking_and_near_ones_by_decoding_on(
    counting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeks = []
    with VideoFile(counting) as file:
        seek = file._seek
        monkeypatch.setattr(file, "_seek", lambda stamp: seeks.append(stamp) or seek(stamp))
        assert counts(file.frames(np.array([0, 25, 50]), whole)) == [0, 25, 50]
        assert len(seeks) == 3
        assert counts(file.frames(np.arange(10, 40, 2), whole)) == list(range(10, 40, 2))
        assert len(seeks) == 4


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp9.webm", "hevc.mp4"])
def test_the_common_formats_need_no_second_try(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = CONTAINERS[name]
    with VideoFile(write(tmp_path / name, counting_frames(40), **options)) as file:
        monkeypatch.setattr(file, "_reopen", lambda: pytest.fail("a frame was missed"))
        for wanted in range(40):
            assert counts(file.frames(np.array([wanted]), whole)) == [wanted]


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("odd.mkv", "ffv1", "yuv444p", (49, 67)),
        ("grey.mp4", "libx264", "gray", (48, 64)),
        ("alpha.mov", "qtrle", "argb", (48, 64)),
        ("deep.mp4", "libx264", "yuv420p10le", (48, 64)),
        ("one-pixel-high.mkv", "ffv1", "yuv444p", (1, 64)),
    ],
)
def test_odd_sizes_and_pixel_formats_come_out_as_rgb(
    name: str, codec: str, pixels: str, size: tuple[int, int], tmp_path: Path
) -> None:
    path = write(tmp_path / name, counting_frames(5, *size), codec=codec, pixels=pixels)
    with VideoFile(path) as file:
        frames = file.frames(np.arange(5), whole)
    assert frames.shape == (5, *size, 3)
    assert frames.dtype == np.uint8
    assert counts(frames) == list(range(5))


def test_a_video_of_a_single_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "one.mp4", counting_frames(1))
    with VideoFile(path) as file:
        assert len(file) == 1
        assert counts(file.frames(np.zeros(4, dtype=np.int64), whole)) == [0] * 4


def test_colours_keep_their_order(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), dtype=np.uint8)
    red[..., 0] = 200
    with VideoFile(write(tmp_path / "red.mp4", [red])) as file:
        colour = file.frames(np.array([0]), whole).mean(axis=(0, 1, 2))
    assert colour[0] > 180
    assert colour[1:].max() < 20


def test_a_turned_video_is_read_upright(tmp_path: Path) -> None:
    """A phone held upright writes lying frames and the matrix that turns them a quarter clockwise."""
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    frame[:24, :32] = 255  # top left; after the turn top right
    plain = write(tmp_path / "plain.mp4", [frame] * 3)
    turned = tmp_path / "turned.mp4"
    unit = 1 << 16
    # (x, y) -> (-y + height, x), in the fixed-point layout of the track header: a b u c d v tx ty w
    identity = b"".join(n.to_bytes(4, "big", signed=True) for n in (unit, 0, 0, 0, unit, 0, 0, 0, 1 << 30))
    clockwise = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, unit, 0, -unit, 0, 0, 48 * unit, 0, 1 << 30))
    data = plain.read_bytes()
    track = data.index(b"tkhd")
    turned.write_bytes(data[:track] + data[track:].replace(identity, clockwise, 1))
    with VideoFile(turned) as file:
        upright = file.frames(np.array([0]), whole)[0]
    assert upright.shape == (64, 48, 3)
    assert upright[4:28, 28:44].min() > 200
    assert upright[4:60, :20].max() < 50


def test_of_several_streams_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        small, large = (out.add_stream("libx264", rate=25, options={"crf": "18"}) for _ in range(2))
        for stream, (width, height) in ((small, (32, 24)), (large, (64, 48))):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i, frame in enumerate(counting_frames(10)):
            for stream in (small, large):
                picture = av.VideoFrame.from_ndarray(
                    frame if stream is large else frame[::2, ::2].copy(), format="rgb24"
                )
                picture.pts = i
                out.mux(stream.encode(picture))
        for stream in (small, large):
            out.mux(stream.encode(None))
    with VideoFile(path) as file:
        frames = file.frames(np.arange(10), whole)
    assert frames.shape[1:] in ((48, 64, 3), (24, 32, 3))
    assert counts(frames) == list(range(10))


SHARED = Path(__file__).parents[2].parent / "shared" / "videos"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
@pytest.mark.parametrize("name", ["demo.mp4", "test.mp4", "test.avi"])
def test_real_recordings_equal_a_plain_decode(name: str) -> None:
    with av.open(str(SHARED / name)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = np.random.default_rng(0).permutation(len(plain))[:12]
    with VideoFile(SHARED / name) as file:
        assert len(file) == len(plain)
        # Bytes, which the format defines, turned into RGB by the same code.
        assert np.array_equal(file.frames(chosen, whole), np.stack([plain[i] for i in chosen]))
