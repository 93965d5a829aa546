"""Tiny replicas of the data sets as they are distributed: their real file names and columns, and their oddities."""

import argparse
import csv
import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from autovid.cli import main
from autovid.cli.data import arguments
from autovid.data import Video, VideoSet, open_videos
from autovid.data.layouts import LAYOUTS
from autovid.data.layouts.kinetics import choose
from autovid.data.make_index import LeftOut, read_data_set
from autovid.errors import DataError


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def text(root: Path, name: str, *rows: str, end: str = "\n", bom: bool = False) -> None:
    files(root, name)
    (root / name).write_bytes(("\ufeff" * bom + end.join(rows) + end).encode())


def indexed(name: str, root: Path, **options: int) -> tuple[VideoSet, list[tuple[str, str]]]:
    """The set, and (path, reason) of what was left out."""
    videos, left_out = read_data_set(name, root, **options)
    return videos, [(row.path, row.reason) for row in left_out]


def shown(videos: VideoSet) -> dict[str, list[tuple[str, str]]]:
    return {split: [(v.path, videos.classes[v.label]) for v in getattr(videos, split)] for split in ("train", "val")}


def refused(name: str, root: Path, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read_data_set(name, root)
    assert "\n" not in str(caught.value)


def test_the_command_line_knows_every_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS._lines, "another", ("a data set of a test", "autovid.data.layouts.own:read_csv"))
    parser = argparse.ArgumentParser()
    arguments(parser)
    for name in LAYOUTS:
        assert parser.parse_args(["index", name, "DIR"]).name == name


# Kinetics-400

HEADER = "label,youtube_id,time_start,time_end,split"


def kinetics(root: Path) -> None:
    """ActivityNet's folders, a class each; CRLF and a byte order mark in one list, is_cc in the other."""
    files(
        root,
        "train/massaging person's head/-3B32lodo2M_000059_000069.mp4",
        "train/abseiling/_dbcJuKJQNs_000040_000050.mp4",
        "train/abseiling/0Xx0_000123_000133.mkv",  # another container than the name says
        "val/abseiling/valvalvalva_000001_000011.mp4",
        "val/tying knot (not on a tie)/bothboth000_000000_000010.mp4",
        "train/tying knot (not on a tie)/bothboth000_000000_000010.mp4",
    )
    text(
        root,
        "annotations/kinetics_train.csv",
        HEADER,
        '"massaging person\'s head",-3B32lodo2M,59,69,train',
        "abseiling,_dbcJuKJQNs,40,50,train",
        "abseiling,0Xx0,123,133,train",
        "abseiling,gone0000000,5,15,train",
        "abseiling,_dbcJuKJQNs,40,50,train",
        "tying knot (not on a tie),_dbcJuKJQNs,40,50,train",
        "tying knot (not on a tie),bothboth000,0,10,train",
        end="\r\n",
        bom=True,
    )
    text(
        root,
        "annotations/kinetics_val.csv",
        HEADER + ",is_cc",
        "abseiling,valvalvalva,1,11,validate,0",
        "tying knot (not on a tie),bothboth000,0,10,val,1",
        "",
    )
    text(root, "annotations/kinetics_test.csv", "youtube_id,time_start,time_end,split", "testtest,1,11,test")


def test_kinetics400(tmp_path: Path) -> None:
    kinetics(tmp_path)
    videos, left_out = indexed("kinetics400", tmp_path)
    assert videos.classes == ("abseiling", "massaging person's head", "tying knot (not on a tie)")
    assert shown(videos) == {
        "train": [
            ("train/massaging person's head/-3B32lodo2M_000059_000069.mp4", "massaging person's head"),
            ("train/abseiling/_dbcJuKJQNs_000040_000050.mp4", "abseiling"),
            ("train/abseiling/0Xx0_000123_000133.mkv", "abseiling"),
            ("train/tying knot (not on a tie)/bothboth000_000000_000010.mp4", "tying knot (not on a tie)"),
        ],
        "val": [
            ("val/abseiling/valvalvalva_000001_000011.mp4", "abseiling"),
            ("val/tying knot (not on a tie)/bothboth000_000000_000010.mp4", "tying knot (not on a tie)"),
        ],
    }
    assert left_out == [
        ("gone0000000_000005_000015.mp4", "not in the folder"),
        ("_dbcJuKJQNs_000040_000050.mp4", "listed before"),
        ("_dbcJuKJQNs_000040_000050.mp4", "listed before with another class"),
    ]
    assert videos.flip


def test_official_lists_may_quote_every_cell(tmp_path: Path) -> None:
    files(tmp_path, "abc_000010_000020.mp4")
    header = ",".join(f'"{name}"' for name in HEADER.split(","))
    text(tmp_path, "kinetics_train.csv", header, '"testifying, now","abc",10,20,"train"', end="\r\n")
    assert shown(indexed("kinetics400", tmp_path)[0])["train"] == [("abc_000010_000020.mp4", "testifying, now")]


def test_a_video_of_both_splits_validates(tmp_path: Path) -> None:
    kinetics(tmp_path)
    (tmp_path / "train/tying knot (not on a tie)/bothboth000_000000_000010.mp4").unlink()
    videos, left_out = indexed("kinetics400", tmp_path)
    assert ("bothboth000_000000_000010.mp4", "listed for val too") in left_out
    assert not {v.path for v in videos.train} & {v.path for v in videos.val}
    assert len(videos.val) == 2


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("abseiling,abc,x,10,train", r"kinetics_train\.csv, row 9: time_start 'x' is not a whole number"),
        ("abseiling,abc,1,10", "row 9: 4 columns where 5"),
        ("abseiling,abc,1,10,dev", "row 9: split 'dev'"),
        (",abc,1,10,train", "row 9: an empty label"),
        ("abseiling,../abc,1,10,train", r"row 9: '\.\./abc_000001_000010\.mp4' leaves"),
        ("abseiling,/etc/abc,1,10,train", "row 9: .* leaves"),
        ("abseiling,linked,1,10,train", r"row 9: train/linked_000001_000010\.mp4.* leaves"),
    ],
)
def test_a_bad_row_of_kinetics_is_refused_with_its_file_and_number(row: str, complaint: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    kinetics(root)
    files(tmp_path, "outside.mp4")
    (root / "train/linked_000001_000010.mp4").symlink_to(tmp_path / "outside.mp4")
    with (root / "annotations/kinetics_train.csv").open("a", newline="") as out:
        out.write(row + "\r\n")
    refused("kinetics400", root, complaint)


def test_kinetics400_as_lists_of_paths_and_numbers(tmp_path: Path) -> None:
    files(tmp_path, "videos_train/air drumming/a b.mp4", "videos_train/c.mp4", "videos_val/c.mp4")
    text(tmp_path, "kinetics400_train_list.txt", "air drumming/a b.mp4 1", "c.mp4 0", end="\r\n")
    text(tmp_path, "kinetics400_val_list.txt", "c.mp4\t2", "gone.mp4 1")
    videos, left_out = indexed("kinetics400", tmp_path)
    assert videos.classes == ("0", "1", "2")
    assert shown(videos) == {
        "train": [("videos_train/air drumming/a b.mp4", "1"), ("videos_train/c.mp4", "0")],
        "val": [("videos_val/c.mp4", "2")],
    }
    assert left_out == [("gone.mp4", "not in the folder")]
    text(tmp_path, "label_map_k400.txt", "abseiling", "air drumming", "zumba", "never seen")
    assert indexed("kinetics400", tmp_path)[0].classes == ("abseiling", "air drumming", "zumba", "never seen")
    text(tmp_path, "label_map_k400.txt", "abseiling", "air drumming")
    refused("kinetics400", tmp_path, r"label_map_k400\.txt: 2 names, 2 of them different, for 3 classes")
    (tmp_path / "label_map_k400.txt").unlink()
    text(tmp_path, "kinetics400_val_list.txt", "../c.mp4 2")
    refused("kinetics400", tmp_path, r"val_list\.txt, row 1: '\.\./c\.mp4' leaves")
    text(tmp_path, "kinetics400_val_list.txt", f"{tmp_path}/videos_val/c.mp4 2")
    refused("kinetics400", tmp_path, "row 1: .* leaves")
    text(tmp_path, "kinetics400_val_list.txt", "c.mp4")
    refused("kinetics400", tmp_path, "row 1: 'c.mp4' is not a path and a label")


def test_kinetics200_takes_the_largest_classes_and_as_many_of_each() -> None:
    sizes = {0: (500, 30), 1: (400, 24), 2: (3, 2), **dict.fromkeys(range(3, 202), (10, 1))}
    rows = [
        (split, Video(f"{label}-{split}-{i}", label))
        for label, pair in sizes.items()
        for split, count in zip(("train", "val"), pair)
        for i in range(count)
    ]
    classes = tuple(f"{label:03d}" for label in sizes)
    chosen = choose(rows, classes, 0)
    kept = {video.label for _, video in chosen}
    assert kept == set(sizes) - {2, 201}  # the smallest, and of equals the last by name
    counts = Counter((video.label, split) for split, video in chosen)
    assert [counts[label, split] for label in (0, 1) for split in ("train", "val")] == [400, 25, 400, 24]
    assert chosen == choose(rows, classes, 0) != choose(rows, classes, 1)


def test_kinetics200_numbers_the_classes_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinetics(tmp_path)
    monkeypatch.setattr("autovid.data.layouts.kinetics.CLASSES", 2)
    monkeypatch.setattr("autovid.data.layouts.kinetics.VIDEOS", {"train": 1, "val": 5})
    videos, _ = indexed("kinetics200", tmp_path, seed=3)
    assert videos.classes == ("abseiling", "tying knot (not on a tie)")
    assert [v.label for v in videos.train] == [0, 1]


# Something-Something


def test_something_v1(tmp_path: Path) -> None:
    for number in ("100218", "24413", "9"):
        files(tmp_path, *(f"20bn-something-something-v1/{number}/{i:05d}.jpg" for i in (1, 2)))
    text(
        tmp_path, "something-something-v1-labels.csv", "Holding something", "Turning something upside down", end="\r\n"
    )
    text(tmp_path, "something-something-v1-train.csv", "100218;Turning something upside down", "7;Holding something")
    text(tmp_path, "something-something-v1-validation.csv", "24413;Holding something")
    text(tmp_path, "something-something-v1-test.csv", "9")
    videos, left_out = indexed("ssv1", tmp_path)
    assert videos.classes == ("Holding something", "Turning something upside down")
    assert shown(videos) == {
        "train": [("20bn-something-something-v1/100218", "Turning something upside down")],
        "val": [("20bn-something-something-v1/24413", "Holding something")],
    }
    assert left_out == [("7", "not in the folder")]
    assert not videos.flip
    text(tmp_path, "something-something-v1-train.csv", "100218;Turning something upside down", "9")
    refused("ssv1", tmp_path, r"v1-train\.csv, row 2: label ''")
    text(tmp_path, "something-something-v1-train.csv", "../9;Holding something")
    refused("ssv1", tmp_path, "row 1: '../9' leaves")


def entry(number: str, template: str) -> dict[str, object]:
    label = template.lower().replace("[something]", "a “potato”")
    return {"id": number, "label": label, "template": template, "placeholders": ["a “potato”"]}


@pytest.mark.parametrize("names", ["something-something-v2-{}.json", "{}.json"])
def test_something_v2(names: str, tmp_path: Path) -> None:
    files(tmp_path, "20bn-something-something-v2/78687.webm", "20bn-something-something-v2/42326.webm")
    labels = {"Putting something similar to other things": "1", "Holding something next to something": "0"}
    text(tmp_path, "labels/" + names.format("labels"), json.dumps(labels))
    train = [
        entry("78687", "Holding [something] next to [something]"),
        entry("1", "Holding [something] next to [something]"),
    ]
    text(tmp_path, "labels/" + names.format("train"), json.dumps(train, ensure_ascii=False), bom=True)
    valid = [entry("42326", "Putting [something similar to other things]")]
    text(tmp_path, "labels/" + names.format("validation"), json.dumps(valid))
    videos, left_out = indexed("ssv2", tmp_path)
    assert videos.classes == ("Holding something next to something", "Putting something similar to other things")
    assert shown(videos) == {
        "train": [("20bn-something-something-v2/78687.webm", videos.classes[0])],
        "val": [("20bn-something-something-v2/42326.webm", videos.classes[1])],
    }
    assert left_out == [("1.webm", "not in the folder")]
    assert not videos.flip
    for bad, complaint in (
        (entry("1", "Eating [something]"), r"entry 2: template 'Eating \[something\]' is none"),
        ({"id": 1, "template": "x"}, "entry 2: Expected `str`"),
        ({"id": "1"}, "entry 2: .*template"),
        (entry("../1", train[0]["template"]), r"entry 2: '\.\./1\.webm' leaves"),  # type: ignore[arg-type]
    ):
        text(tmp_path, "labels/" + names.format("train"), json.dumps([train[0], bad]))
        refused("ssv2", tmp_path, complaint)
    text(tmp_path, "labels/" + names.format("train"), json.dumps(train)[:-9])
    refused("ssv2", tmp_path, r"train\.json: ")
    text(tmp_path, "labels/" + names.format("labels"), json.dumps({"a": "0", "b": "2"}))
    refused("ssv2", tmp_path, "without a gap")


# Moments in Time


def test_moments(tmp_path: Path) -> None:
    files(
        tmp_path,
        "training/adult+female+singing/yt-aB, c_4.mp4",
        "training/blocking/same.mp4",
        "validation/blocking/same.mp4",
    )
    text(tmp_path, "moments_categories.txt", "blocking,1", "adult+female+singing,0", end="\r\n")
    rows = ('"adult+female+singing/yt-aB, c_4.mp4",adult+female+singing,3,0', "blocking/same.mp4,blocking,4,1")
    text(tmp_path, "trainingSet.csv", *rows, "blocking/gone.mp4,blocking,4,1", end="\r\n")
    text(tmp_path, "validationSet.csv", "blocking/same.mp4,blocking,3,0")
    videos, left_out = indexed("moments", tmp_path)
    assert videos.classes == ("adult+female+singing", "blocking")
    assert shown(videos) == {
        "train": [
            ("training/adult+female+singing/yt-aB, c_4.mp4", "adult+female+singing"),
            ("training/blocking/same.mp4", "blocking"),
        ],
        "val": [("validation/blocking/same.mp4", "blocking")],
    }
    assert left_out == [("blocking/gone.mp4", "not in the folder")]
    text(tmp_path, "validationSet.csv", "blocking/same.mp4,Blocking,3,0")
    refused("moments", tmp_path, r"validationSet\.csv, row 1: class 'Blocking'")
    text(tmp_path, "moments_categories.txt", "blocking")
    refused("moments", tmp_path, r"moments_categories\.txt, row 1: number 'blocking'")


# UCF101 and HMDB51


def test_ucf101(tmp_path: Path) -> None:
    names = ["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandstandPushups/v_HandStandPushups_g01_c01"]
    files(tmp_path, *(f"UCF-101/{name}.avi" for name in names))
    lists = "ucfTrainTestlist"
    text(tmp_path, f"{lists}/classInd.txt", "1 ApplyEyeMakeup", "2 HandstandPushups", "", end="\r\n")
    text(tmp_path, f"{lists}/trainlist01.txt", f"{names[0]}.avi 1", f"{names[1]}.avi 2", end="\r\n")
    text(tmp_path, f"{lists}/testlist01.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", end="\r\n")
    text(tmp_path, f"{lists}/trainlist02.txt", f"{names[1]}.avi 2")
    text(tmp_path, f"{lists}/testlist02.txt", f"{names[0]}.avi")
    videos, left_out = indexed("ucf101", tmp_path)
    assert shown(videos)["train"] == [(f"UCF-101/{name}.avi", name.split("/")[0]) for name in names]
    assert left_out == [("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "not in the folder")]
    videos, _ = indexed("ucf101", tmp_path, fold=2)
    assert shown(videos)["val"] == [(f"UCF-101/{names[0]}.avi", "ApplyEyeMakeup")]
    for row, complaint in (
        (f"{names[0]}.avi 2", "row 1: number 2 is not that of ApplyEyeMakeup"),
        ("Nothing/v.avi 1", "row 1: 'Nothing/v.avi 1': expected CLASS/VIDEO"),
    ):
        text(tmp_path, f"{lists}/trainlist01.txt", row)
        refused("ucf101", tmp_path, complaint)
    (tmp_path / lists / "classInd.txt").unlink()
    refused("ucf101", tmp_path, r"no classInd\.txt here or in a folder right below")


def test_hmdb51(tmp_path: Path) -> None:
    odd = "#20_Rhythm_&_(HQ)_clap;u_nm_np1_fr_goo_0.avi"
    files(tmp_path, f"clap/{odd}", "clap/two.avi", "clap/three.avi", "brush_hair/two.avi")
    splits = "testTrainMulti_7030_splits"
    text(tmp_path, f"{splits}/clap_test_split1.txt", f"{odd} 1 ", "two.avi 2 ", "three.avi 0 ", end="\r\n")
    text(tmp_path, f"{splits}/clap_test_split2.txt", f"{odd} 2 ", "two.avi 1 ", "three.avi 1 ")
    text(tmp_path, f"{splits}/brush_hair_test_split1.txt", "two.avi 1 ", "gone.avi 1 ")
    videos, left_out = indexed("hmdb51", tmp_path)
    assert videos.classes == ("brush_hair", "clap")
    assert shown(videos) == {
        "train": [("brush_hair/two.avi", "brush_hair"), (f"clap/{odd}", "clap")],
        "val": [("clap/two.avi", "clap")],
    }
    assert left_out == [("brush_hair/gone.avi", "not in the folder")]
    assert len(indexed("hmdb51", tmp_path, fold=2)[0].train) == 2
    text(tmp_path, f"{splits}/clap_test_split1.txt", "two.avi 3")
    refused("hmdb51", tmp_path, r"clap_test_split1\.txt, row 1: 'two\.avi 3'")
    text(tmp_path, f"{splits}/clap_test_split1.txt", "../../x.avi 1")
    refused("hmdb51", tmp_path, "row 1: .* leaves")


# The IBM lists, folders, a CSV of one's own


@pytest.mark.parametrize("separator", [" ", ";"])
def test_ibm(separator: str, tmp_path: Path) -> None:
    for name in ("one", "two words") if separator == ";" else ("one", "two"):
        files(tmp_path, *(f"videos/{name}/{i:05d}.jpg" for i in (1, 2, 3)))
    second = "videos/two words" if separator == ";" else "videos/two"
    text(tmp_path, "train.txt", separator.join(["videos/one", "1", "3", "2"]), end="\r\n")
    text(tmp_path, "mini_train.txt", "not read")
    text(tmp_path, "val.txt", separator.join([second, "2", "3", "0"]), separator.join(["videos/gone", "1", "9", "1"]))
    text(tmp_path, "test.txt", separator.join([second, "1", "3"]))
    videos, left_out = indexed("ibm", tmp_path)
    assert videos.classes == ("0", "1", "2")
    assert videos.train == (Video("videos/one", 2, 1, 4),)
    assert videos.val == (Video(second, 0, 2, 4),)
    assert left_out == [("videos/gone", "not in the folder")]
    for row, complaint in (
        (["videos/one", "1", "x", "2"], r"train\.txt, row 1: end 'x'"),
        (["videos/one", "3", "1", "2"], "row 1: end 1 is before start 3"),
        (["videos/one", "1", "2"], "row 1: .* expected path, start, end and label"),
        (["../one", "1", "2", "0"], r"row 1: '\.\./one' leaves"),
    ):
        text(tmp_path, "train.txt", separator.join(row))
        refused("ibm", tmp_path, complaint)


def test_folders(tmp_path: Path) -> None:
    files(tmp_path, *(f"plain/{name}/{i}.mp4" for name in ("run", "sit") for i in range(5)))
    videos, left_out = indexed("folders", tmp_path / "plain")
    assert (len(videos.train), len(videos.val), left_out) == (8, 2, [])
    assert any(indexed("folders", tmp_path / "plain", seed=seed)[0].val != videos.val for seed in range(1, 5))
    files(tmp_path, "split/train/run/a.mp4", "split/val/run/a.mp4")
    assert shown(indexed("folders", tmp_path / "split")[0]) == {
        "train": [("train/run/a.mp4", "run")],
        "val": [("val/run/a.mp4", "run")],
    }


def test_files_that_do_not_end_like_a_video_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "mine"
    files(root, "run/a.mp4", "run/b", "run/.c.mp4", "swim/d.wmv", "sit/f/00001.jpg", "README.md")
    assert main(["data", "index", "folders", str(root), "-o", str(tmp_path / "mine.csv")]) == 0
    said = capsys.readouterr().out
    assert "mine.csv: 2 classes, 2 videos to train on" in said
    assert "left out: 2 without a video's ending (.3gp, .avi, " in said
    assert "), first run/b\n" in said
    assert [row[1] for row in rows(tmp_path / "mine.left-out.csv")] == ["path", "run/b", "swim/d.wmv"]


def test_a_csv_of_ones_own(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4", "in/b.mp4")
    rows = ("path,label,split", "a.mp4,7,train", "in/b.mp4,3,val", "gone.mp4,1,train", "a.mp4,7,train")
    text(tmp_path, "my.csv", *rows, end="\r\n")
    videos, left_out = read_data_set("csv", tmp_path)
    assert len(videos.classes) == 8
    assert shown(videos) == {"train": [("a.mp4", "7")], "val": [("in/b.mp4", "3")]}
    where = f"{tmp_path / 'my.csv'}, row"
    assert left_out == [
        LeftOut(f"{where} 4", "gone.mp4", "not in the folder"),
        LeftOut(f"{where} 5", "a.mp4", "listed before"),
    ]
    text(tmp_path, "my.csv", "path,label", "../a.mp4,1")
    refused("csv", tmp_path, r"my\.csv, row 2: '\.\./a\.mp4' leaves")
    for nowhere in (".", "./"):
        text(tmp_path, "my.csv", "path,label", "a.mp4,1", f"{nowhere},1")
        refused("csv", tmp_path, r"my\.csv, row 3: '\..*' leaves")


def test_names_are_the_same_composed_and_decomposed(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café.mp4") for form in ("NFC", "NFD"))
    files(tmp_path, f"ü/{decomposed}")
    text(tmp_path, "train.txt", f"{composed} 0")
    assert indexed("kinetics400", tmp_path)[0].train == (Video(f"ü/{decomposed}", 0),)


@pytest.mark.parametrize("name", ["kinetics400", "ssv1", "ibm"])
def test_a_list_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    for list_name in ("train.txt", "something-something-v1-labels.csv"):
        (tmp_path / list_name).write_bytes(b"caf\xe9.mp4 1\n")
    refused(name, tmp_path, "not a UTF-8 text file")


def test_nothing_at_all_is_a_wrong_folder(tmp_path: Path) -> None:
    text(tmp_path, "train.txt", "a.mp4 0", "b.mp4 0")
    refused(
        "kinetics400", tmp_path, r"none of the 2 listed videos is in the folder, first a\.mp4 \(.*train\.txt, row 1\)"
    )
    refused("kinetics400", tmp_path / "nowhere", "no such folder")


# The command


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_command_writes_an_index_that_training_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinetics(tmp_path)
    assert main(["data", "index", "kinetics400", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 classes, 4 videos to train on, 2 to validate" in said
    assert "left out: 1 not in the folder, first gone0000000_000005_000015.mp4" in said
    direct, left_out = read_data_set("kinetics400", tmp_path)
    index = tmp_path / "kinetics400.csv"
    assert rows(index)[0] == ["path", "label", "split"]
    assert open_videos(index) == direct
    listed = rows(tmp_path / "kinetics400.left-out.csv")
    assert [tuple(row) for row in listed[1:]] == left_out
    # A second time: what was written is not taken for a list.
    assert main(["data", "index", "kinetics400", str(tmp_path)]) == 0
    assert open_videos(index) == direct


def test_an_index_above_the_data_or_elsewhere_finds_it(tmp_path: Path) -> None:
    kinetics(tmp_path / "in" / "set")
    for out in (tmp_path / "above.csv", tmp_path / "other" / "far.csv"):
        assert main(["data", "index", "kinetics400", str(tmp_path / "in/set"), "-o", str(out)]) == 0
        videos = open_videos(out)
        assert all((videos.root / v.path).exists() for v in videos.train + videos.val)
        assert len(videos.train) == 4
    assert '"root"' not in (tmp_path / "above.about.json").read_text()
    rest = (tmp_path / "other" / "far.csv").read_text()
    (tmp_path / "other" / "far.csv").write_text(rest + "../above.csv,abseiling,train\n")
    with pytest.raises(DataError, match="row 8: .* leaves the folder"):
        open_videos(tmp_path / "other" / "far.csv")


def test_classes_without_a_video_keep_their_places(tmp_path: Path) -> None:
    files(tmp_path, "1.webm", "2.webm")
    text(
        tmp_path,
        "labels.json",
        json.dumps({"Zzz x": "0", "Never": "1", "Aaa": "2"}),
    )
    text(tmp_path, "train.json", json.dumps([entry("1", "Zzz [x]")]))
    text(tmp_path, "validation.json", json.dumps([entry("2", "Aaa")]))
    assert main(["data", "index", "ssv2", str(tmp_path)]) == 0
    videos = open_videos(tmp_path / "ssv2.csv")
    assert videos.classes == ("Zzz x", "Never", "Aaa")
    assert (videos.train[0].label, videos.val[0].label, videos.flip) == (0, 2, False)


def test_a_label_that_the_index_does_not_know_is_refused(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4")
    text(tmp_path, "my.csv", "path,label", "a.mp4,walk")
    text(tmp_path, "my.about.json", json.dumps({"classes": ["run"]}))
    with pytest.raises(DataError, match="row 2: label 'walk' is none of the 1 classes"):
        open_videos(tmp_path / "my.csv")
    for about, complaint in (
        ({"classes": ["a", "a"]}, "twice"),
        ({"root": "/"}, "classes"),
        ({"classes": ["a"], "root": ".."}, "absolute"),
    ):
        text(tmp_path, "my.about.json", json.dumps(about))
        with pytest.raises(DataError, match=rf"my\.about\.json: .*{complaint}"):
            open_videos(tmp_path / "my.csv")


def test_mini_draws_half_of_the_classes_and_records_them(tmp_path: Path) -> None:
    files(tmp_path, *(f"{split}/class {c}/{i}.mp4" for split in ("train", "val") for c in range(7) for i in range(2)))
    assert main(["data", "index", "folders", str(tmp_path)]) == 0
    whole = open_videos(tmp_path / "folders.csv")
    drawn = set()
    for seed in range(4):
        out = tmp_path / f"mini-{seed}.csv"
        assert main(["data", "mini", str(tmp_path / "folders.csv"), "--seed", str(seed), "-o", str(out)]) == 0
        mini = open_videos(out)
        assert len(mini.classes) == 3
        assert list(mini.classes) == sorted(mini.classes)
        expected = {(v.path, whole.classes[v.label]) for v in whole.train if whole.classes[v.label] in mini.classes}
        assert {(v.path, mini.classes[v.label]) for v in mini.train} == expected
        assert len(mini.val) == 6
        about = json.loads((tmp_path / f"mini-{seed}.about.json").read_text())
        provenance = about["provenance"]
        assert (about["classes"], provenance["seed"], provenance["of"]) == (list(mini.classes), seed, "folders")
        drawn.add(mini.classes)
    assert len(drawn) > 1
    assert main(["data", "mini", str(tmp_path / "folders.csv")]) == 0
    assert open_videos(tmp_path / "mini-folders.csv").classes == open_videos(tmp_path / "mini-0.csv").classes
