"""Folders and CSV files become indexes; what is wrong with them is said with its row, and nothing leaves the folder."""

import os
from pathlib import Path

import pytest

from autovid.cli import main
from autovid.data import Video, VideoSet, hold_out, open_videos
from autovid.data.index import check_for_search, write_index
from autovid.data.make_index import read_data_set
from autovid.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes with 10, 5 and 1 videos (empty files: nothing here opens them)."""
    for name, count in (("b jump", 10), ("a-run", 5), ("ç-sit", 1)):
        for i in range(count):
            path = tmp_path / "set" / name / ("deep/er" if i % 2 else ".") / f"{i}.MP4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path / "set"


def table(tmp_path: Path, text: str, *names: str) -> Path:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def paths(videos: tuple[Video, ...]) -> set[str]:
    return {video.path for video in videos}


def test_a_sub_folder_is_a_class_however_deep_its_videos_lie(folder: Path) -> None:
    (folder / "b jump" / "notes.txt").touch()
    (folder / "b jump" / "._0.mp4").touch()  # what a Mac leaves beside each file
    (folder / ".cache").mkdir()
    (folder / "notes").mkdir()  # no videos: no class
    videos = open_videos(folder)
    assert videos.name == "set"
    assert videos.classes == ("a-run", "b jump", "ç-sit")
    assert len(videos.train) + len(videos.val) == 16
    assert all((videos.root / video.path).is_file() for video in videos.train + videos.val)
    assert {video.label for video in videos.train if video.path.startswith("b jump/")} == {1}
    assert videos.flip


def test_the_holdout_is_stratified_disjoint_and_a_function_of_the_seed(folder: Path) -> None:
    videos = open_videos(folder)
    assert not paths(videos.train) & paths(videos.val)
    in_val = [sum(video.label == label for video in videos.val) for label in range(3)]
    assert in_val == [1, 2, 0]  # a class keeps a video to learn from
    assert open_videos(folder) == videos
    assert any(open_videos(folder, seed=seed).val != videos.val for seed in range(1, 5))
    assert open_videos(folder, holdout=0).val == ()
    assert len(open_videos(folder, holdout=0.5).val) == 8
    with pytest.raises(DataError, match="holdout"):
        open_videos(folder, holdout=1)


def test_folders_called_train_and_val_are_the_splits(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / "own" / split).mkdir(parents=True)
    (folder / "b jump").rename(tmp_path / "own" / "train" / "jump")
    (folder / "a-run").rename(tmp_path / "own" / "val" / "run")
    videos = open_videos(tmp_path / "own")
    assert videos.classes == ("jump", "run")
    assert {video.label for video in videos.train} == {0}
    assert {video.label for video in videos.val} == {1}
    assert all(video.path.startswith("train/jump/") for video in videos.train)


def test_the_fingerprint_is_of_the_index(folder: Path) -> None:
    videos = open_videos(folder)
    assert videos.fingerprint == open_videos(folder).fingerprint
    assert len(videos.fingerprint) == 64
    marks = {videos.fingerprint, open_videos(folder, holdout=0.4).fingerprint}
    (folder / "a-run" / "new.mp4").touch()
    marks.add(open_videos(folder).fingerprint)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert open_videos(moved).fingerprint in marks
    (moved / "a-run").rename(moved / "a-walk")
    marks.add(open_videos(moved).fingerprint)
    assert len(marks) == 4


def test_holding_out_half_parts_every_class_in_two(folder: Path) -> None:
    videos = open_videos(folder, holdout=0).train
    one, other = hold_out(videos, 0.5, seed=0)
    assert paths(one) | paths(other) == paths(videos)
    assert not paths(one) & paths(other)
    assert abs(len(one) - len(other)) <= 1
    for label in range(3):
        assert abs(sum(v.label == label for v in one) - sum(v.label == label for v in other)) <= 1
    assert hold_out(videos, 0.5, seed=0) == (one, other)
    assert any(hold_out(videos, 0.5, seed=seed) != (one, other) for seed in range(1, 5))


def test_parts_of_one_file_are_held_out_together(tmp_path: Path) -> None:
    rows = [f"{n}.mp4,{'run' if n < 6 else 'sit'},{k},{k + 1}" for n in range(12) for k in range(1 + n % 6)]
    index = table(tmp_path, "\n".join(rows), *(f"{n}.mp4" for n in range(12)))
    held = set()
    for seed in range(20):
        videos = open_videos(index, seed=seed)
        assert not paths(videos.train) & paths(videos.val)
        assert open_videos(index, seed=seed) == videos
        assert {video.label for video in videos.val} == {video.label for video in videos.train} == {0, 1}
        assert 4 <= len(videos.val) <= 13, "8.4 of 42, in files of up to 6"
        one, other = hold_out(videos.train, 0.5, seed)
        assert not paths(one) & paths(other)
        held.add(videos.val)
    assert len(held) > 10


def test_a_file_with_parts_of_several_classes_leaves_some_of_each() -> None:
    videos = tuple(Video(f"{n}.mp4", label, label, label + 1.0) for n in range(3) for label in range(4))
    for seed in range(5):
        rest, other = hold_out(videos, 0.2, seed, least=1)
        assert not paths(rest) & paths(other)
        assert {video.label for video in rest} == {0, 1, 2, 3}
        assert len(other) == 4
    alone = tuple(Video("0.mp4", 0, k, k + 1.0) for k in range(9))
    assert hold_out(alone, 0.5, 0, least=1) == (alone, ())
    assert len(hold_out(alone, 0.5, 0, by_file=False)[1]) == 5


@pytest.mark.parametrize("sizes", [((6, 6), (50, 50)), ((10, 10), (10, 10), (10, 10)), ((1, 90), (3, 4, 5))])
def test_of_every_class_with_two_files_one_is_held_out(sizes: tuple[tuple[int, ...], ...]) -> None:
    parts = tuple(
        Video(f"{label}-{n}.mp4", label, k, k + 1.0)
        for label, own in enumerate(sizes)
        for n, count in enumerate(own)
        for k in range(count)
    )
    names = tuple("abc"[: len(sizes)])
    for seed in range(5):
        check_for_search(VideoSet("x", Path(), names, parts, ()), 0.2, seed)
        for least in (0, 1):
            rest, held = hold_out(parts, 0.2, seed, least)
            assert {video.label for video in rest} == {video.label for video in held} == set(range(len(sizes)))
            assert not paths(rest) & paths(held)


def test_a_file_that_has_to_stay_does_not_keep_others_of_its_class_from_being_held_out() -> None:
    """The shortest file of class 0 has all of class 1."""
    videos = (Video("s.mp4", 0), Video("s.mp4", 1), *(Video(f"{n}.mp4", 0, k, k + 1.0) for n in "ab" for k in range(9)))
    for seed in range(5):
        rest, held = hold_out(videos, 0.1, seed)
        assert ({video.label for video in rest}, {video.label for video in held}) == ({0, 1}, {0})


def test_a_search_names_the_classes_that_it_could_not_hold_out() -> None:
    """Each class has two files, and each file two classes: one file alone can be held out."""
    files = {"0.mp4": (0, 1), "1.mp4": (1, 2), "2.mp4": (2, 0)}
    parts = tuple(Video(path, label, k, k + 1.0) for path, labels in files.items() for k, label in enumerate(labels))
    with pytest.raises(
        DataError, match=r"a file together, and none would be of 1 of 3 classes: [abc]; give more files"
    ):
        check_for_search(VideoSet("x", Path(), tuple("abc"), parts, ()))
    few = tuple(Video(f"{n}.mp4", n % 2) for n in range(4))
    check_for_search(
        VideoSet("x", Path(), ("a", "b"), few, ()), 0.2
    )  # of one part: dealt as ever, if to one class only
    with pytest.raises(
        DataError, match="holds out 0.05 of the training videos, and none would be of 2 of 2 classes: a, b"
    ):
        check_for_search(VideoSet("x", Path(), ("a", "b"), few, ()), 0.05)


def test_files_of_one_part_are_dealt_as_ever() -> None:
    """Runs on such sets go on: their fingerprints have the split."""
    videos = tuple(Video(f"{n}.mp4", n * n % 7 % 4) for n in range(30))
    assert [video.path for video in hold_out(videos, 0.2, 3, 1)[1]] == [f"{n}.mp4" for n in (2, 6, 7, 17, 18, 19)]
    assert [int(video.path[:-4]) for video in hold_out(videos, 0.5, 0)[1]] == [
        *(1, 2, 4, 5, 6, 7, 13, 17, 18, 19, 21, 23, 25, 27, 28)
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path;label\na.mp4;b\n", "row 1: the columns are separated by semicolons, where commas are"),
        (b"a.mp4\tb\n", "row 1: the columns are separated by tabs"),
        ("path,label\na.mp4,caf\u00e9\n".encode("cp1252"), "Save it as CSV UTF-8, or, .*: iconv -f CP1252 -t UTF-8 "),
    ],
)
def test_a_table_of_a_spreadsheet_says_how_to_save_it(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        open_videos(tmp_path / "my.csv")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_table_in_utf16_is_known_by_its_mark(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "my list.csv"
    path.write_bytes("\ufeffa.mp4,caf\u00e9\n".encode(encoding))
    with pytest.raises(DataError, match=f"UTF-16, not UTF-8; .* iconv -f UTF-16 -t UTF-8 '{path}' -o FIXED.csv"):
        open_videos(path)


def test_a_video_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.MP4").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"a\.MP4: a video, not a list; give its folder, with a sub-folder for each"):
        open_videos(tmp_path / "a.MP4")


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ("in\\c d.mp4", r"'in\\c d\.mp4' has backslashes; write it with /: in/c d\.mp4$"),
        ("C:\\sets\\new\\in\\c d.mp4", r"has backslashes; make it relative: in/c d\.mp4$"),
        ("C:\\sets\\gone.mp4", "has backslashes; make it relative, paths must stay inside {here}$"),
        ("C:/sets/new/in/c d.mp4", r"is a path of Windows; make it relative: in/c d\.mp4$"),
        ("C:gone.mp4", "is a path of Windows; make it relative, paths must stay inside {here}$"),
        ("{here}/in/c d.mp4", r"leaves the folder of the CSV file; make it relative: in/c d\.mp4$"),
        ("/elsewhere/gone.mp4", "; make it relative, paths must stay inside {here}$"),
        ("../a.mp4", "leaves the folder of the CSV file; paths must stay inside {here}$"),
    ],
)
def test_a_path_that_is_not_relative_gets_its_remedy(
    listed: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=says.replace("{here}", str(tmp_path))):
        load(Path("."), f"b.mp4,run\n{listed.replace('{here}', str(tmp_path))},run\n")


def test_a_name_may_have_a_backslash_or_begin_like_a_drive(tmp_path: Path) -> None:
    for name in ("x\\y.mp4", "x:y.mp4"):
        (tmp_path / name).touch()
        assert load(tmp_path, f"{name},run\n").train == (Video(name, 0),)


def test_every_class_of_two_has_one_to_validate(tmp_path: Path) -> None:
    rows = [f"{n}.mp4,{label}" for n, label in enumerate("aaabbbcccddde")]
    index = table(tmp_path, "\n".join(rows), *(f"{n}.mp4" for n in range(13)))
    for seed in range(5):
        videos = open_videos(index, seed=seed)
        assert [sum(video.label == label for video in videos.val) for label in range(5)] == [1, 1, 1, 1, 0]
    (line,) = videos.gaps()
    assert line == f"{videos.name}: 1 of 5 classes have no videos in val: e; they do not count in accuracies"
    assert open_videos(index, holdout=0).gaps() == []


@pytest.mark.parametrize("source", ["nowhere", "nowhere.csv"])
def test_a_source_that_is_not_there(source: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or CSV file"):
        open_videos(tmp_path / source)


def test_a_folder_without_videos_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()  # not in a class
    with pytest.raises(DataError, match="a sub-folder for each class"):
        open_videos(tmp_path)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").touch()
    (folder / "a-run" / "inside.mp4").symlink_to(folder / "a-run" / "0.MP4")
    assert "a-run/inside.mp4" in paths(open_videos(folder, holdout=0).train)
    (folder / "a-run" / "outside.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(DataError, match=r"outside\.mp4: a link that leaves"):
        open_videos(folder)


def test_a_name_that_is_not_utf8_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = folder / "a-run" / os.fsdecode(b"caf\xe9.mp4")
    foreign.touch()
    says = "the name is not UTF-8; rename it, or all in its folder: convmv -r -f CP1252 -t UTF-8 --notest FOLDER\n"
    for what in (["index", "folders"], ["check"], ["mini"]):
        assert main(["data", *what, str(folder)]) == 4
        assert capsys.readouterr().err == f"autovid data: {folder}/a-run/caf\\xe9.mp4: {says}"
    foreign.rename(foreign.with_suffix(".txt"))  # not a video, but one that is listed as left out
    assert main(["data", "index", "folders", str(folder)]) == 4
    assert capsys.readouterr().err == f"autovid data: a-run/caf\\xe9.txt: {says}"


def test_a_folder_that_is_itself_a_link_is_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert open_videos(tmp_path / "link").fingerprint == open_videos(folder).fingerprint


def load(tmp_path: Path, text: str) -> VideoSet:
    return open_videos(table(tmp_path, text, "a.mp4", "b.mp4", "in/c d.mp4"), holdout=0)


def test_relative_paths_are_those_of_the_folder_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "videos" / "walk").mkdir(parents=True)
        (tmp_path / name / "videos" / "walk" / "a.mp4").touch()
        (tmp_path / name / "set.csv").write_text("path,label\nvideos/walk/a.mp4,walk\n", encoding="utf-8")
    for name, source in (("one", "videos"), ("two", "set.csv")):
        monkeypatch.chdir(tmp_path / name)
        assert len(open_videos(source).train) == 1


def test_a_csv_with_names(tmp_path: Path) -> None:
    videos = load(tmp_path, "a.mp4,run\nb.mp4,jump\n\nin/c d.mp4,run\n")
    assert videos.classes == ("jump", "run")
    assert videos.train == (Video("a.mp4", 1), Video("b.mp4", 0), Video("in/c d.mp4", 1))
    assert videos.root == tmp_path


def test_a_csv_with_numbers_keeps_them(tmp_path: Path) -> None:
    videos = load(tmp_path, "a.mp4,3\nb.mp4,0\n")
    assert videos.classes == ("0", "1", "2", "3")
    assert videos.train == (Video("a.mp4", 3), Video("b.mp4", 0))


def test_the_names_of_classes_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    assert load(tmp_path, "a.mp4,run\n").fingerprint != load(tmp_path, "a.mp4,walk\n").fingerprint


def test_a_csv_with_parts_a_header_and_splits(tmp_path: Path) -> None:
    rows = ("Path, Label,split,end,start", "a.mp4,run,train,2.5,1", "a.mp4,run,val,,3", '"b.mp4","jump, high",train,,')
    text = "\ufeff" + "\r\n".join(rows)
    videos = load(tmp_path, text)
    assert videos.classes == ("jump, high", "run")
    assert videos.train == (Video("a.mp4", 1, 1.0, 2.5), Video("b.mp4", 0))
    assert videos.val == (Video("a.mp4", 1, 3.0, None),)


def test_a_csv_without_a_header_takes_the_columns_in_order(tmp_path: Path) -> None:
    assert load(tmp_path, "a.mp4,run,1,2\nb.mp4,run,,\n").train == (Video("a.mp4", 0, 1.0, 2.0), Video("b.mp4", 0))


@pytest.mark.parametrize(
    "header", ["filename,label", "video,class", "id,path,label", "Video,Label,split", "label,video"]
)
def test_a_header_with_other_names_is_not_taken_for_a_video(header: str, tmp_path: Path) -> None:
    rest = ",run" * header.count(",")
    with pytest.raises(DataError, match="row 1: columns .*needed are path,label"):
        load(tmp_path, f"{header}\na.mp4{rest}\n")


def test_the_columns_of_a_header_come_in_any_order(tmp_path: Path) -> None:
    assert load(tmp_path, "label,path\nrun,a.mp4\n").train == (Video("a.mp4", 0),)


def test_a_class_may_be_called_label(tmp_path: Path) -> None:
    assert load(tmp_path, "a.mp4,label\nb.mp4,class\n").classes == ("class", "label")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("../a.mp4,run", "leaves the folder"),
        ("in/../../a.mp4,run", "leaves the folder"),
        ("in/../b.mp4,run", "leaves the folder"),
        ("/etc/passwd,run", "leaves the folder"),
        ("out/a.mp4,run", "leaves the folder"),
        ("link.mp4,run", "leaves the folder"),
        ("a\0.mp4,run", "NUL|leaves the folder"),
        ("a.mp4", "1 columns where 2"),
        ("a.mp4,run,1,2,train,more", "6 columns where 2"),
        (",run", "empty path or label"),
        ("a.mp4,", "empty path or label"),
    ],
)
def test_a_bad_row_is_named(row: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out").symlink_to(tmp_path)
    (tmp_path / "data" / "link.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(DataError, match=complaint) as caught:
        load(tmp_path / "data", f"b.mp4,run\n{row}\n")
    assert "row 2" in str(caught.value) or "NUL" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "row", "complaint"),
    [
        ("path,label,start,end", "a.mp4,run,2,1", "end 1 s is not after start 2 s"),
        ("path,label,start,end", "a.mp4,run,2,2", "not after"),
        ("path,label,start", "a.mp4,run,nan", "start 'nan' is not a time"),
        ("path,label,end", "a.mp4,run,inf", "end 'inf' is not a time"),
        ("path,label,start", "a.mp4,run,-1", "start '-1' is not a time"),
        ("path,label,start", "a.mp4,run,0:30", "start '0:30' is not a time"),
        ("path,label,split", "a.mp4,run,all", "split 'all': must be train, val or test"),
        ("path,label,split", "a.mp4,run,", "split '': must be train, val or test"),
        ("path,label", "a.mp4,100000", "integer labels must be below 100,000"),
    ],
)
def test_a_bad_value_is_named_with_its_row(header: str, row: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"row 2: .*{complaint}"):
        load(tmp_path, f"{header}\n{row}\n")


def test_a_test_split_is_neither_learned_from_nor_chosen_by(tmp_path: Path, folder: Path) -> None:
    rows = "path,label,split\na.mp4,run,train\nb.mp4,run,train\nc.mp4,run,val\nd.mp4,run,test\n"
    videos = open_videos(table(tmp_path, rows, "a.mp4", "b.mp4", "c.mp4", "d.mp4"))
    assert [paths(part) for part in (videos.train, videos.val, videos.test)] == [
        {"a.mp4", "b.mp4"},
        {"c.mp4"},
        {"d.mp4"},
    ]
    split = tmp_path / "split"
    split.mkdir()
    folder.rename(split / "train")
    (split / "test" / "b jump").mkdir(parents=True)
    (split / "test" / "b jump" / "x.mp4").touch()
    videos = open_videos(split)
    assert (len(videos.train), len(videos.val), paths(videos.test)) == (13, 3, {"test/b jump/x.mp4"})
    indexed, _ = read_data_set("folders", split)
    assert (len(indexed.train), indexed.val, indexed.test) == (16, (), videos.test)
    write_index(split / "index.csv", videos, {})
    assert open_videos(split / "index.csv").test == videos.test


def test_a_source_without_val_holds_some_of_every_class_out_and_knows_it(tmp_path: Path, folder: Path) -> None:
    rows = "".join(f"{number}.mp4,{'run' if number % 2 else 'jump'},train\n" for number in range(10))
    videos = open_videos(table(tmp_path, f"path,label,split\n{rows}", *(f"{n}.mp4" for n in range(10))))
    assert ([v.label for v in videos.val], len(videos.train), videos.held_out) in (([0, 1], 8, True), ([1, 0], 8, True))
    assert open_videos(folder).held_out
    assert not open_videos(folder, holdout=0).held_out


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = made(tmp_path, "bus/a", "plane/a", "Train/a", "test/notes/")
    assert open_videos(root).classes == ("Train", "bus", "plane")


def made(tmp_path: Path, *names: str) -> Path:
    """A folder with videos, and with empty folders."""
    for name in names:
        path = tmp_path / "set" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.with_suffix(".mp4").touch()
    return tmp_path / "set"


@pytest.mark.parametrize("val", ["val", "validation", "Valid", "VAL"])
def test_folders_of_splits_have_several_names(val: str, tmp_path: Path) -> None:
    root = made(tmp_path, "Train/run/a", "Train/sit/b", f"{val}/run/c", "Testing/sit/d", "notes/", "validate/")
    videos = open_videos(root)
    assert videos.classes == ("run", "sit")
    assert [paths(part) for part in (videos.train, videos.val, videos.test)] == [
        {"Train/run/a.mp4", "Train/sit/b.mp4"},
        {f"{val}/run/c.mp4"},
        {"Testing/sit/d.mp4"},
    ]


def test_a_folder_beside_those_of_train_and_val_is_passed_over(tmp_path: Path) -> None:
    assert open_videos(made(tmp_path, "train/run/a", "train/sit/b", "val/run/c", "raw/d")).classes == ("run", "sit")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("train/a", "test/b", "bus/c"), "test/ and train/: named like splits, beside bus/, which is not; put each"),
        (("train/run/a", "train/sit/a", "bus/c"), "train/: named like splits, beside bus/, which is not; put each"),
        (("val/run/a", "test/run/b"), "test/ and val/: named like splits, but there is no train/"),
        (("train/run/a", "val/run/b", "valid/run/c"), "two of them for one split"),
        (("mine/run/a", "mine/sit/b"), "mine would be its only class, .* one folder too high\\? Give .*/set/mine$"),
        (("train/mine/run/a", "train/mine/sit/b"), "is it one folder too high\\? Give .*/set/train/mine$"),
    ],
)
def test_folders_that_are_not_clear_are_refused(names: tuple[str, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        open_videos(made(tmp_path, *names))


def test_names_of_splits_are_no_classes_of_a_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="list: its classes are train, validation, which are names of splits"):
        load(tmp_path, "a.mp4,train\nb.mp4,validation\n")


@pytest.mark.parametrize("header", ["path,start", "path,label,colour", "path,label,label"])
def test_a_bad_header_is_refused(header: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1: columns"):
        load(tmp_path, f"{header}\na.mp4,run,1\n")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no videos"),
        (b"path,label\n", "no videos"),
        (b"a.mp4,\xff\xfe\n", "not a UTF-8 text file"),
        (b'a.mp4,"run\n', "not a CSV file"),
        (b"a.mp4," + b"x" * 200_000 + b"\n", "not a CSV file"),
        (b"path,label,split\na.mp4,run,val\n", "no row has the split 'train'"),
    ],
)
def test_a_csv_that_cannot_be_read(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        open_videos(tmp_path / "list.csv")


def test_one_missing_video_may_be_and_many_are_a_wrong_folder(tmp_path: Path) -> None:
    assert len(load(tmp_path, "a.mp4,run\ngone.mp4,run\n").train) == 2
    with pytest.raises(DataError, match=r"2 of 3 videos do not exist, first .*gone\.mp4 \(row 2\); paths are.* to /"):
        load(tmp_path, "a.mp4,run\ngone.mp4,run\nthere.mp4,run\n")
