"""What check finds broken is what a loader would stumble over; it is asked once of each file, also across kills."""

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from counting import counting_frames, write
from killing import dies, loses_connection, run_and_kill
from PIL import Image

from autovid.cli import main
from autovid.data import Video, VideoSet, open_videos
from autovid.data.clips import read_frames
from autovid.data.tools.check import Checker, broken, check, imbalance
from autovid.data.tools.process_videos import Journal, VideoResult, VideoTask, process
from autovid.data.tools.resize import moved_times
from autovid.data.video import VideoFile
from autovid.errors import DataError
from autovid.run import Progress


@pytest.fixture
def mixed(counting: Path, tmp_path: Path) -> Path:
    """An index of good and broken videos and frame folders."""
    data = bytearray(counting.read_bytes())
    for name in ("good.mp4", "twice.mp4"):
        (tmp_path / name).write_bytes(data)
    begin = data.index(b"mdat") + 4
    size = int.from_bytes(data[begin - 8 : begin - 4], "big") - 8
    data[begin + size // 2 : begin + size // 2 + 2000] = b"\xff" * 2000
    (tmp_path / "damaged.mp4").write_bytes(data)
    (tmp_path / "empty.mp4").touch()
    for folder in ("frames", "torn"):
        (tmp_path / folder).mkdir()
        for i, frame in enumerate(counting_frames(4), 1):
            Image.fromarray(frame).save(tmp_path / folder / f"{i:05d}.jpg")
    torn = tmp_path / "torn" / "00003.jpg"
    torn.write_bytes(torn.read_bytes()[:-500])
    rows = (
        "path,label,start,end",
        "good.mp4,a,,",
        "twice.mp4,a,0,1",
        "twice.mp4,b,1,2",
        "twice.mp4,a,7,8",
        "damaged.mp4,a,,",
        "empty.mp4,a,,",
        "gone.mp4,b,,",
        "frames,a,2,4",
        "torn,b,,",
    )
    (tmp_path / "mixed.csv").write_text("\n".join(rows))
    return tmp_path / "mixed.csv"


def test_what_is_broken_is_listed_with_its_reason(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(mixed), "--workers", "1"]) == 4
    said = capsys.readouterr()
    assert "step 7/7" in said.out
    assert "5 videos or parts are broken: damaged.mp4: " in said.err
    with mixed.with_name("mixed.broken.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "reason"]
    reasons = dict(rows)
    assert set(reasons) == {"damaged.mp4", "empty.mp4", "gone.mp4", "torn", "twice.mp4"}
    assert (
        "frames cannot be decoded, the first at" in reasons["damaged.mp4"] or "damaged frame" in reasons["damaged.mp4"]
    )
    assert reasons["empty.mp4"] == "empty file"
    assert "No such file" in reasons["gone.mp4"]
    assert reasons["torn"].startswith("00003.jpg: ")
    assert reasons["twice.mp4"] == "no frames from 7 to 8"
    words = " ".join(said.out.split())
    assert "│ a │ 2 │ 1 │ 3 │ 3 │" in words
    assert f"next autovid search --data {mixed.with_name('mixed.clean.csv')} " in words


def test_the_clean_index_is_what_is_left_and_stands_in_the_way_of_nothing(mixed: Path, tmp_path: Path) -> None:
    main(["data", "check", str(mixed), "--workers", "1"])
    clean = mixed.with_name("mixed.clean.csv")
    videos = open_videos(clean, holdout=0)
    kept = {(video.path, video.start) for video in (*videos.train, *videos.val)}
    assert kept == {("good.mp4", None), ("twice.mp4", 0.0), ("twice.mp4", 1.0), ("frames", 2.0)}
    assert videos.classes == ("a", "b")
    assert main(["data", "check", str(clean), "--workers", "1"]) == 0
    assert main(["data", "index", "csv", str(tmp_path)]) == 0  # of the one CSV file that is a user's


def test_a_broken_video_of_the_test_split_is_left_out_too(
    counting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = {"1": "train", "2": "train", "3": "val", "4": "test", "5": "test"}
    for name in splits:
        (tmp_path / f"{name}.mp4").write_bytes(counting.read_bytes() if name != "5" else b"no video")
    rows = [f"{name}.mp4,a,{split}" for name, split in splits.items()]
    (tmp_path / "set.csv").write_text("\n".join(("path,label,split", *rows)))
    assert main(["data", "check", str(tmp_path / "set.csv"), "--workers", "1"]) == 4
    assert [video.path for video in open_videos(tmp_path / "set.clean.csv").test] == ["4.mp4"]
    words = " ".join(capsys.readouterr().out.split())
    assert "┃ class ┃ train ┃ val ┃ test ┃ broken ┃ seconds ┃" in words
    assert "│ a │ 2 │ 1 │ 1 │ 1 │ 9 │" in words


def test_unequal_classes_are_told() -> None:
    videos = VideoSet("few", Path("."), ("a", "b"), tuple(Video(f"{n}.mp4", int(n > 5)) for n in range(8)), ())
    assert imbalance(videos) == (
        "a has 6 videos to train on and b 2: always to answer a would be right for 75 % of them; "
        "--balance draws all classes alike, in a search and in a training"
    )
    assert imbalance(msgspec.structs.replace(videos, train=videos.train[3:])) == ""


def test_a_video_under_two_classes_or_in_two_splits_is_told(
    counting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.mp4", "y.mp4", "z.mp4"):
        (tmp_path / name).write_bytes(counting.read_bytes())
    rows = ("x.mp4,a,,,train", "x.mp4,b,,,train", "y.mp4,b,0,1,train", "y.mp4,b,1,2,val", "z.mp4,a,,,val")
    (tmp_path / "twice.csv").write_text("\n".join(("path,label,start,end,split", *rows)))
    assert main(["data", "check", str(tmp_path / "twice.csv"), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "twice: 1 listed under several classes, first x.mp4\n" in said
    assert "twice: 1 with parts in train and in val, first y.mp4\n" in said


def test_a_sound_set_is_said_to_be_so(counting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = counting.with_name("sound.csv")
    index.write_text(f"{counting.name},a\n")
    assert main(["data", "check", str(index), "--workers", "1"]) == 0
    assert "1 videos, none broken" in capsys.readouterr().out
    assert index.with_name("sound.broken.csv").read_text() == "path,reason\n"


def test_a_second_check_looks_at_what_has_changed_alone(mixed: Path) -> None:
    main(["data", "check", str(mixed), "--workers", "1"])
    journal = mixed.with_name("mixed.broken.jsonl")
    assert len(journal.read_text().splitlines()) == 8
    good = mixed.with_name("good.mp4").read_bytes()
    mixed.with_name("empty.mp4").write_bytes(good)
    main(["data", "check", str(mixed), "--workers", "1"])
    assert [json.loads(line)["task"]["path"] for line in journal.read_text().splitlines()[8:]] == ["empty.mp4"]
    assert "empty.mp4" not in mixed.with_name("mixed.broken.csv").read_text()


def many(tmp_path: Path, n: int) -> Path:
    for i in range(n):
        write(tmp_path / "videos" / f"{i:02d}.mp4", counting_frames(12))
    index = tmp_path / "many.csv"
    index.write_text("".join(f"videos/{i:02d}.mp4,a\n" for i in range(n)))
    return index


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was(tmp_path: Path) -> None:
    index = many(tmp_path, 60)
    (tmp_path / "videos" / "03.mp4").write_bytes(b"no video")
    journal = tmp_path / "many.broken.jsonl"
    lines = run_and_kill(6, index, journal, "check")
    assert 6 <= lines < 61, "killed too late to show anything"
    assert not (tmp_path / "many.broken.csv").exists()
    with journal.open("ab") as file:
        file.write(b'{"task":{"path":"videos/59.mp4","pa')  # a line that the kill has torn
    assert main(["data", "check", str(index), "--workers", "1"]) == 4
    paths = [json.loads(line)["task"]["path"] for line in journal.read_text().splitlines()[1:] if line.endswith("}")]
    assert len(paths) == len(set(paths)) == 60
    assert (tmp_path / "many.broken.csv").read_text().count("\n") == 2


def test_one_process_at_a_time_and_one_data_set_a_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j", {"of": "a"})
    with pytest.raises(DataError, match="another process is at it"):
        Journal(tmp_path / "j", {"of": "a"})
    first.close()
    with pytest.raises(DataError, match=r"was begun with \{'of': 'a'\}, not with \{'of': 'b'\}"):
        Journal(tmp_path / "j", {"of": "b"})
    Journal(tmp_path / "j", {"of": "a"}).close()


def test_a_folder_and_its_index_are_checked_one_after_the_other(counting: Path, tmp_path: Path) -> None:
    """As `data synthetic` and `data index` leave them; a folder with a dot in its name is not another one."""
    for name in ("clips.v1/a/1.mp4", "clips.v1/b/2.mp4", "clips.v2/a/1.mp4", "clips.v2/b/2.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(counting.read_bytes())
    folder = tmp_path / "clips.v1"
    assert main(["data", "index", "folders", str(folder), "-o", f"{folder}.csv"]) == 0
    for source in (folder, f"{folder}.csv", folder):
        assert main(["data", "check", str(source), "--workers", "1"]) == 0
    journal = tmp_path / "clips.v1.broken.jsonl"
    assert len(journal.read_text().splitlines()) == 3
    assert main(["data", "check", str(tmp_path / "clips.v2"), "--workers", "1"]) == 0
    assert len(journal.read_text().splitlines()) == len((tmp_path / "clips.v2.broken.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_a_video_that_kills_its_process_is_broken_and_the_others_are_not(tmp_path: Path) -> None:
    todo = [VideoTask(name, ((None, None),)) for name in ("a", "b", "deadly", "c", "d", "e", "f", "g")]
    done = process(tmp_path, todo, dies, Journal(tmp_path / "j", {}), 2, Progress())
    assert [one.task for one in done] == todo
    assert {one.task.path: one.reason for one in done if one.reason} == {"deadly": "the process that decodes it dies"}


def test_a_video_whose_process_has_died_is_tried_again(tmp_path: Path) -> None:
    todo = [VideoTask(name, ((None, None),)) for name in ("a", "b")]
    journal = Journal(tmp_path / "j", {})
    journal.add(VideoResult(todo[0], "", "the process that decodes it dies"))
    journal.add(VideoResult(todo[1], "", "empty file"))
    results = process(tmp_path, todo, loses_connection, journal, 0, Progress())
    assert [result.reason for result in results] == ["", "empty file"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_lost_connection_ends_the_work_and_is_no_fault_of_a_video(tmp_path: Path, workers: int) -> None:
    todo = [VideoTask(name, ((None, None),)) for name in ("a", "b", "far", "c", "d")]
    journal = Journal(tmp_path / "j", {})
    with pytest.raises(DataError, match="no connection"):
        process(tmp_path, todo, loses_connection, journal, workers, Progress())
    assert [task.path for task in journal.results] == ["a", "b"]
    assert not any(result.reason for result in journal.results.values())


def test_check_agrees_with_reading(mixed: Path, tmp_path: Path) -> None:
    """On files that are damaged at random: what check passes, a loader reads whole."""
    good = np.frombuffer(mixed.with_name("good.mp4").read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    outcomes = set()
    for i in range(25):
        data = good.copy()
        places = rng.integers(len(data), size=3)
        data[places] = rng.integers(256, size=3)
        (tmp_path / f"r{i}.mp4").write_bytes(data.tobytes())
        done = Checker(tmp_path).check(VideoTask(f"r{i}.mp4", ((None, None),)))
        outcomes.add(bool(done.reason))
        if not done.reason:
            with VideoFile(tmp_path / f"r{i}.mp4") as file:
                assert len(read_frames(file, np.arange(len(file)), lambda image: image)) == len(file)
    assert outcomes == {True, False}


SHARED = Path(__file__).parents[3].parent / "shared" / "videos"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
def test_real_recordings_are_sound(tmp_path: Path) -> None:
    videos = VideoSet("real", SHARED, ("a",), tuple(Video(n, 0) for n in ("demo.mp4", "test.avi", "test.mp4")), ())
    assert broken(check(videos, Journal(tmp_path / "j", {}), 1, Progress())) == []


def test_missing_videos_are_for_check_to_list_and_for_training_to_refuse(mixed: Path) -> None:
    index = mixed.with_name("missing.csv")
    index.write_text("x.mp4,a\ny.mp4,a\ngood.mp4,a\n")
    with pytest.raises(DataError, match="2 of 3 videos do not exist"):
        open_videos(index)
    assert main(["data", "check", str(index), "--workers", "1"]) == 4
    assert index.with_name("missing.broken.csv").read_text().count("No such file") == 2


def test_the_folder_that_one_stands_in_is_named_as_any_other(
    counting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.` has no name beside which a file could be put; neither has `..`."""
    for name in ("set/a/1.mp4", "set/b/2.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(counting.read_bytes())
    monkeypatch.chdir(tmp_path / "set")
    assert main(["data", "check", ".", "--workers", "1"]) == 0
    assert (tmp_path / "set.broken.csv").is_file()
    assert main(["data", "mini", "."]) == 0
    assert (tmp_path / "mini-set.csv").is_file()
    monkeypatch.chdir(tmp_path / "set" / "a")
    assert main(["data", "mini", "..", "--seed", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "set" / "a").iterdir()) == ["1.mp4"]


def test_a_copy_with_other_times_says_so() -> None:
    videos = VideoSet("few", Path("."), ("a",), (Video("a.mp4", 0, 1.0, 2.0), Video("b.mp4", 0)), ())
    assert moved_times(videos, videos) == ""
    copy = msgspec.structs.replace(videos, train=(Video("a.mp4", 0, 1.02, 1.98), Video("b.mp4", 0)))
    assert "differ from yours by less than a frame" in moved_times(videos, copy)
    tests = [msgspec.structs.replace(one, train=one.train[1:], test=one.train[:1]) for one in (videos, copy)]
    assert "differ from yours by less than a frame" in moved_times(*tests)
