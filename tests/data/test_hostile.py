"""Files that are broken, empty, no videos, or made to do harm: one VideoError each, and nothing else happens."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from counting import counting_frames, counts, write

from autovid.data import video
from autovid.data.clips import read_frames
from autovid.data.video import VideoError, VideoFile


def whole(frame: np.ndarray) -> np.ndarray:
    return frame


def read(path: Path) -> np.ndarray:
    with VideoFile(path) as file:
        return file.frames(np.arange(len(file)), whole)


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(path))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "empty file"),
    "text": (lambda path: path.write_text("this is not a video\n" * 100), "not an mp4"),
    "zeros": (lambda path: path.write_bytes(bytes(100_000)), "not an mp4"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "pipe": (lambda path: os.mkfifo(path), "not a regular file"),
    "socket": (socket_file, "not a regular file"),
    "missing": (lambda path: None, "No such file"),
    "dangling link": (lambda path: path.symlink_to("nowhere.mp4"), "No such file"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "sound only": (sound_only, "no video stream"),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)), "not an mp4"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_video_is_refused_with_its_reason(kind: str, tmp_path: Path) -> None:
    make, reason = BROKEN[kind]
    path = tmp_path / "x.mp4"
    make(path)
    with pytest.raises(VideoError, match=reason) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_that_may_not_be_read(counting: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(counting.read_bytes())
    path.chmod(0)
    with pytest.raises(VideoError, match="Permission denied"):
        read(path)


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile good.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\ngood.ts\n#EXT-X-ENDLIST\n",
    "hls with an address": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp"])
def test_a_script_does_not_open_other_files(kind: str, suffix: str, counting: Path, tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(counting.read_bytes())
    write(tmp_path / "good.ts", counting_frames(60))
    script = tmp_path / f"script{suffix}"
    script.write_text(SCRIPTS[kind])
    with pytest.raises(VideoError, match="not an mp4"):
        read(script)


def test_the_ffconcat_script_would_work_without_the_lists(
    counting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the refusal above is ours, and not a script that is wrong."""
    (tmp_path / "good.mp4").write_bytes(counting.read_bytes())
    script = tmp_path / "script.mp4"
    script.write_text(SCRIPTS["ffconcat"])
    with av.open(str(script)) as opened:
        assert counts(np.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)][:9])) == list(
            range(9)
        )
    monkeypatch.setattr(video, "FORMATS", f"{video.FORMATS},concat")
    assert len(read(script)) == 60


def test_a_refused_script_has_not_even_tried_the_other_file(tmp_path: Path) -> None:
    """The other file is a pipe that nobody writes to: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "trap.mp4")
    script = tmp_path / "script.mp4"
    script.write_text("ffconcat version 1.0\nfile trap.mp4\n")
    code = f"from autovid.data.video import VideoFile; from pathlib import Path; VideoFile(Path({str(script)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "VideoError" in done.stderr


def test_huge_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    wide = write(
        tmp_path / "wide.mkv",
        (np.zeros((16, 8208, 3), dtype=np.uint8) for _ in range(2)),
        codec="ffv1",
        pixels="yuv444p",
    )
    with pytest.raises(VideoError, match="frames of 8208x16 pixels"):
        read(wide)


def test_frames_that_turn_huge_on_the_way_are_refused(
    counting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header tells one size and the stream another: the decoder itself holds the bound."""
    path = write(tmp_path / "large.ts", counting_frames(4, 480, 640))
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48)
    with pytest.raises(VideoError):
        read(path)


def test_too_many_frames_are_refused(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_FRAMES", 59)
    with pytest.raises(VideoError, match="more than 59 frames"):
        read(counting)


def test_a_file_cut_short_gives_the_frames_it_has(tmp_path: Path) -> None:
    for name, options in (("a.mp4", {"movflags": "faststart"}), ("a.mkv", {}), ("a.ts", {}), ("a.avi", {})):
        path = tmp_path / name
        write(path, counting_frames(60), bf="2")
        if options:
            front(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 6 // 10])
        frames = read(path)
        assert 5 < len(frames) < 60, name
        shown = counts(frames)  # what was stored before the cut: of the last few, not the ones in between
        assert shown[: len(shown) - 4] == list(range(len(shown) - 4)), name
        assert shown == sorted(set(shown)), name


def test_a_recording_that_begins_in_the_middle_begins_with_its_first_key_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", counting_frames(60))
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 10 * 188 :])
    shown = counts(read(path))
    assert shown == list(range(shown[0], 60))
    assert 0 < shown[0] <= 12


def front(path: Path) -> None:
    """Moves the index of an MP4 to its front, where a cut leaves it whole."""
    moved = path.with_suffix(".moved.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    moved.replace(path)


def test_an_mp4_without_its_index_is_refused(counting: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(counting.read_bytes()[:2000])
    with pytest.raises(VideoError, match="Invalid data"):
        read(path)


def test_a_damaged_stretch_costs_the_clips_that_need_it_and_no_others(counting: Path, tmp_path: Path) -> None:
    data = bytearray(counting.read_bytes())
    begin = data.index(b"mdat") + 4
    size = int.from_bytes(data[begin - 8 : begin - 4], "big") - 8
    last = slice(begin + size * 9 // 10, begin + size)
    data[last] = b"\xff" * (size - size * 9 // 10)
    path = tmp_path / "x.mp4"
    path.write_bytes(data)
    with VideoFile(path) as file:
        assert counts(file.frames(np.arange(40), whole)) == list(range(40))
        with pytest.raises(VideoError, match="of 1 frames cannot be decoded"):
            file.frames(np.array([59]), whole)
        clip = np.array([10, 20, 30, 59])
        assert counts(read_frames(file, clip, whole)) == [10, 20, 30, 30]  # the nearest stands in
        with pytest.raises(VideoError, match="2 of 4 frames cannot be decoded"):
            read_frames(file, np.array([10, 20, 58, 59]), whole)


class Corrupt:
    """A video of which some frames come damaged."""

    def __init__(self, path: Path, places: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        original = VideoFile._decode

        class Damaged:
            def __init__(self, frame: Any) -> None:
                self.frame, self.is_corrupt = frame, True

            def __getattr__(self, name: str) -> Any:
                return getattr(self.frame, name)

        def decode(self: VideoFile, *arguments: Any, **options: Any) -> Any:
            for frame in original(self, *arguments, **options):
                place = int(np.searchsorted(self._names, frame.pts))
                yield Damaged(frame) if place in places else frame

        monkeypatch.setattr(VideoFile, "_decode", decode)


def test_one_damaged_frame_does_not_cost_a_video(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Corrupt(counting, {7}, monkeypatch)
    with VideoFile(counting) as file:
        file.check()
        assert counts(read_frames(file, np.arange(5, 13), whole)) == [5, 6, 6, 8, 9, 10, 11, 12]
    monkeypatch.undo()
    Corrupt(counting, {7, 8}, monkeypatch)
    with VideoFile(counting) as file, pytest.raises(VideoError, match="a damaged frame at"):
        file.check()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.mpg"])
def test_random_damage_ends_in_frames_or_in_a_video_error(name: str, tmp_path: Path) -> None:
    codec = "mpeg2video" if name == "a.mpg" else "libx264"
    good = write(tmp_path / name, counting_frames(24), codec=codec, container="mpeg" if name == "a.mpg" else None)
    data = np.frombuffer(good.read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        broken = data.copy()
        places = rng.integers(len(data), size=int(rng.choice([1, 10, 100])))
        if rng.random() < 0.5:
            places %= 600  # the header is where it hurts
        broken[places] = rng.integers(256, size=len(places))
        path = tmp_path / f"broken{good.suffix}"
        path.write_bytes(broken[: rng.integers(len(data)) if rng.random() < 0.3 else None].tobytes())
        try:
            with VideoFile(path) as file:
                outcomes.add("frames" if len(file.frames(np.arange(min(2, len(file))), whole)) else "nothing")
        except VideoError:
            outcomes.add("error")
    assert outcomes == {"frames", "error"}


def test_a_name_with_odd_characters_is_a_name(counting: Path, tmp_path: Path) -> None:
    for name in (
        "with space.mp4",
        "per%20cent.mp4",
        "co:lon.mp4",
        "concat:a|b.mp4",
        "-dash.mp4",
        "ümlaut.mp4",
        "q?x=1#y.mp4",
    ):
        path = tmp_path / name
        path.write_bytes(counting.read_bytes())
        assert len(read(path)) == 60


def test_metadata_in_another_encoding_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "titled.mp4"
    with av.open(str(path), "w") as out:
        out.metadata["title"] = "TITLE"
        stream: Any = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in counting_frames(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    stored = path.read_bytes()
    assert stored.count(b"TITLE") == 1
    path.write_bytes(stored.replace(b"TITLE", "Žluť".encode("cp1250") + b"\xff"))
    assert counts(read(path)) == list(range(5))


def test_ffmpeg_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str], counting: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(counting.read_bytes()[:-2000])
    with pytest.raises(VideoError):
        read(path)
    assert capfd.readouterr() == ("", "")
