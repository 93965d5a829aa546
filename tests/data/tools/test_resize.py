"""The small copy: the same frames at the same times, smaller, upright, whole or not there, also across kills."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from counting import counting_frames, counts, write
from killing import run_and_kill
from PIL import Image

from autovid.cli import main
from autovid.data import Video, open_videos
from autovid.data.images import open_video
from autovid.data.tools.resize import copy_names
from autovid.data.video import fit


def whole(path: Path, *part: float | None) -> np.ndarray:
    with open_video(path, *part) as video:
        return video.frames(np.arange(len(video)), lambda image: image)


def resize(index: Path, out: Path, *options: object) -> int:
    return main(["data", "resize", str(index), "-o", str(out), "--workers", "1", *map(str, options)])


def keys(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = sorted((p for p in container.demux(video=0) if p.size), key=lambda packet: packet.pts)
        return [i for i, packet in enumerate(packets) if packet.is_keyframe]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three videos: a large one, one with uneven times and parts, an AVI; and a folder of frames with parts."""
    root = tmp_path / "source"
    write(root / "run/large.mp4", counting_frames(40, 96, 160), bf="2", gop=250)
    write(root / "run/uneven.mkv", counting_frames(12), pts=[500 + 7 * i + i % 3 for i in range(12)])
    write(root / "sit/old.avi", counting_frames(20, 50, 70), codec="mpeg4")
    (root / "sit/folder").mkdir()
    for i, frame in enumerate(counting_frames(10, 60, 80), 11):
        Image.fromarray(frame).save(root / f"sit/folder/img_{i:05d}.jpg", quality=95)
    rows = (
        "path,label,start,end,split",
        "run/large.mp4,run,,,train",
        "run/uneven.mkv,run,0.2,0.5,train",
        "run/uneven.mkv,run,0.5,,val",
        "sit/old.avi,sit,,,train",
        "sit/folder,sit,13,16,train",
        "sit/folder,sit,16,,val",
    )
    (root / "set.csv").write_text("\n".join(rows))
    return root / "set.csv"


@pytest.mark.parametrize("kind", [["--keyframes", "6"], ["--jpeg"]])
def test_every_row_of_the_copy_shows_the_same_frames(kind: list[str], source: Path, tmp_path: Path) -> None:
    assert resize(source, tmp_path / "small", "--short", 48, *kind) == 0
    old, new = open_videos(source), open_videos(tmp_path / "small" / "set.csv")
    assert new.classes == old.classes
    for split in ("train", "val"):
        before, after = getattr(old, split), getattr(new, split)
        assert [v.label for v in after] == [v.label for v in before]
        for was, now in zip(before, after):
            frames = whole(new.root / now.path, now.start, now.end)
            assert counts(frames) == counts(whole(old.root / was.path, was.start, was.end)), was.path
            assert min(frames.shape[1:3]) == 48
            assert [side % 2 for side in frames.shape[1:3]] == [0, 0]
    names = {video.path for video in (*new.train, *new.val)}
    suffix = "" if kind == ["--jpeg"] else ".mp4"
    assert names == {f"{name}{suffix}" for name in ("run/large", "run/uneven", "sit/old", "sit/folder")}
    assert not [path for path in (tmp_path / "small").rglob("*") if path.name.startswith(".")]


def test_a_part_that_ends_with_its_video_ends_half_a_frame_after_the_last(tmp_path: Path) -> None:
    write(tmp_path / "source/a.mp4", counting_frames(20))
    (tmp_path / "source/set.csv").write_text("a.mp4,a,0,0.8\n")
    assert resize(tmp_path / "source/set.csv", tmp_path / "small") == 0
    (video,) = open_videos(tmp_path / "small/set.csv").train
    assert video.end == pytest.approx(0.78, abs=1e-3)
    assert counts(whole(tmp_path / "small/a.mp4", video.start, video.end)) == list(range(20))


def test_the_copy_has_key_frames_as_asked_and_nothing_but_pictures(source: Path, tmp_path: Path) -> None:
    assert resize(source, tmp_path / "small", "--keyframes", 8) == 0
    large = tmp_path / "small/run/large.mp4"
    assert np.diff([*keys(large), 40]).max() <= 8
    assert whole(large).shape == (40, 96, 160, 3)  # nothing is enlarged
    with av.open(str(large)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.name == "h264"
    with open_video(source.parent / "run/uneven.mkv") as old, open_video(tmp_path / "small/run/uneven.mp4") as new:
        assert new.seconds == pytest.approx(old.seconds, abs=1e-4)  # the copy's ticks are finer than that


def test_colours_stay(tmp_path: Path) -> None:
    """Also where the original says that its numbers mean other colours than usual."""
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:32, :32], picture[:32, 32:], picture[32:, :32] = (200, 40, 40), (40, 180, 60), (50, 60, 220)
    root = tmp_path / "source"
    options: dict[str, dict[str, Any]] = {
        "plain.mp4": {},
        "hd.mp4": {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"},
        "full.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
        "deep.mp4": {"pixels": "yuv420p10le"},
    }
    for name, more in options.items():
        write(root / name, [picture] * 4, crf="10", **more)
    (root / "set.csv").write_text("".join(f"{name},a\n" for name in options))
    assert resize(root / "set.csv", tmp_path / "small", "--short", 32) == 0
    for name in options:
        path = tmp_path / "small" / Path(name).with_suffix(".mp4")
        old, new = (whole(p)[2].astype(int) for p in (root / name, path))
        for y, x in ((8, 8), (8, 24), (24, 8), (24, 24)):
            assert abs(new[y, x] - old[2 * y, 2 * x]).max() <= 8, name  # what coding loses; other colours: 20


def test_a_turned_video_becomes_an_upright_one(tmp_path: Path) -> None:
    root = tmp_path / "source"
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    frame[:24, :32] = 255  # top left; after the quarter turn top right
    plain = write(root / "plain.mp4", [frame] * 3)
    unit = 1 << 16
    identity = b"".join(n.to_bytes(4, "big", signed=True) for n in (unit, 0, 0, 0, unit, 0, 0, 0, 1 << 30))
    clockwise = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, unit, 0, -unit, 0, 0, 48 * unit, 0, 1 << 30))
    data = plain.read_bytes()
    track = data.index(b"tkhd")
    (root / "turned.mp4").write_bytes(data[:track] + data[track:].replace(identity, clockwise, 1))
    (root / "set.csv").write_text("turned.mp4,a\n")
    assert resize(root / "set.csv", tmp_path / "small", "--short", 24) == 0
    copy = tmp_path / "small/turned.mp4"
    with av.open(str(copy)) as container:
        assert next(container.decode(video=0)).rotation == 0
    upright = whole(copy)[0]
    assert upright.shape == (32, 24, 3)
    assert upright[2:14, 14:22].min() > 200
    assert upright[2:30, :10].max() < 50


def test_what_is_broken_is_left_out_and_listed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source.parent / "sit/old.avi").write_bytes(b"no video")
    assert resize(source, tmp_path / "small") == 0  # one may be
    assert "1 video or part is broken and left out: sit/old.avi: not an mp4" in capsys.readouterr().out
    assert "sit/old" not in (tmp_path / "small/set.csv").read_text()
    assert not (tmp_path / "small/sit/old.mp4").exists()
    (source.parent / "run/large.mp4").write_bytes(b"no video")
    assert resize(source, tmp_path / "small") == 4
    assert (tmp_path / "small/set.left-out.csv").read_text().count("not an mp4") == 2


def many(root: Path, n: int) -> Path:
    for i in range(n):
        write(root / f"{i:02d}.mp4", counting_frames(20, 96, 128))
    (root / "many.csv").write_text("".join(f"{i:02d}.mp4,a\n" for i in range(n)))
    return root / "many.csv"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [[], ["--jpeg"]])
def test_killed_it_goes_on_and_ends_the_same(kind: list[str], tmp_path: Path) -> None:
    index = many(tmp_path / "source", 24)
    out, straight = tmp_path / "killed", tmp_path / "straight"
    for lines in (4, 10):
        got = run_and_kill(lines, index, out / "resize.jsonl", "jpeg" if kind else "resize", out)
        assert got < 25, "killed too late to show anything"
    assert not (out / "many.csv").exists()
    # A file that was put in its place just before the kill, but not noted, may be there: it is made again.
    assert resize(index, out, "--short", 48, *(kind or ["--keyframes", 12])) == 0
    assert resize(index, straight, "--short", 48, *(kind or ["--keyframes", 12])) == 0
    names = {path.relative_to(straight) for path in straight.rglob("*")}
    assert {path.relative_to(out) for path in out.rglob("*")} == names
    for name in names - {Path("resize.jsonl")}:
        if (out / name).is_file():
            # The same encoder with the same settings, threads and frames: x264 promises the same bytes.
            assert (out / name).read_bytes() == (straight / name).read_bytes(), name
    noted = [json.loads(line)["task"]["path"] for line in (out / "resize.jsonl").read_text().splitlines()[1:]]
    assert len(noted) == len(set(noted)) == 24


def test_removed_copies_and_changed_originals_are_made_again(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    assert resize(source, out, "--short", 32) == 0
    (out / "run/large.mp4").unlink()
    write(source.parent / "sit/old.avi", counting_frames(7), codec="mpeg4")
    kept = (out / "run/uneven.mp4").stat().st_mtime_ns
    assert resize(source, out, "--short", 32) == 0
    assert (out / "run/uneven.mp4").stat().st_mtime_ns == kept
    assert len(whole(out / "run/large.mp4")) == 40
    assert len(whole(out / "sit/old.mp4")) == 7


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--short", "32"], "was begun with"),
        (["--jpeg"], "was begun with"),
        (["--short", "33"], "odd"),
        (["--keyframes", "0"], "not above 0"),
        (["-o", "{source}/run"], "lies in"),
        (["-o", "{source}"], "lies in"),
        (["-o", "{source}/.."], "lies in"),
    ],
)
def test_what_cannot_be_is_refused(
    options: list[str], complaint: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small/resize.jsonl").write_text(
        json.dumps({"of": str(source.parent.resolve()), "short": 64, "keyframes": 12}) + "\n"
    )
    try:
        code = resize(source, tmp_path / "small", *(option.format(source=source.parent) for option in options))
    except SystemExit as exit_:  # of the argument parser
        code = int(exit_.code or 0)
    assert code in (2, 4)
    assert complaint in capsys.readouterr().err


def test_a_copy_may_lie_beside_the_csv_file_but_not_among_the_classes(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = source.parent
    assert resize(source, root / "small", "--short", 32) == 0
    assert len(open_videos(root / "small/set.csv").train) == len(open_videos(source).train)
    assert resize(root, root / "smaller") == 4
    assert "would count as a class" in capsys.readouterr().err
    assert not (root / "smaller").exists()


def test_names_that_would_be_the_same_stay_apart() -> None:
    assert copy_names(["a/x.avi", "a/x.webm", "a/y.avi"], ".mp4") == {
        "a/x.avi": "a/x.avi.mp4",
        "a/x.webm": "a/x.webm.mp4",
        "a/y.avi": "a/y.mp4",
    }
    assert copy_names(["a.mp4", "a/x.mp4"], "") == {"a.mp4": "a.mp4.frames", "a/x.mp4": "a/x"}


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((240, 320), 256, (240, 320)),
        ((1080, 1920), 256, (256, 456)),
        ((640, 361), 180, (320, 180)),
        ((7, 9), 256, (8, 8)),
        ((1, 64), 256, (2, 64)),
    ],
)
def test_sizes(size: tuple[int, int], short: int, expected: tuple[int, int]) -> None:
    assert fit(*size, short) == expected


SHARED = Path(__file__).parents[3].parent / "shared" / "videos"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
def test_real_recordings_keep_their_frames(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    index = tmp_path / "in" / "real.csv"
    for name in ("demo.mp4", "test.avi", "test.mp4"):
        (tmp_path / "in" / name).write_bytes((SHARED / name).read_bytes())
    index.write_text("demo.mp4,a,1,3\ntest.avi,b,,\ntest.mp4,c,,\n")
    assert resize(index, tmp_path / "out", "--short", 64) == 0
    old, new = open_videos(index, holdout=0), open_videos(tmp_path / "out" / "real.csv", holdout=0)
    assert [v.path for v in new.train] == ["demo.mp4", "test.avi.mp4", "test.mp4.mp4"]
    for was, now in zip(old.train, new.train):
        before, after = whole(old.root / was.path, was.start, was.end), whole(new.root / now.path, now.start, now.end)
        assert len(before) == len(after)
        assert min(after.shape[1:3]) == 64
        assert isinstance(now, Video)
