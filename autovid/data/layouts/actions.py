"""Moments in Time, UCF101 and HMDB51.

Moments in Time: trainingSet.csv and validationSet.csv of `class/file.mp4,class,votes,votes`, videos below training/ and
validation/, moments_categories.txt of `class,number`.

UCF101: Class/v_Class_g01_c01.avi; classInd.txt of `number Class` from 1; trainlist01.txt of `path number`, and
testlist01.txt of paths alone; three folds. The test list of a fold is its validation.

HMDB51: class/video.avi, and for each class and each of three folds a file class_test_split1.txt of `video number`: 1 is
training, 2 is test (here validation), 0 neither. File names hold "#", "&", ";" and brackets.
"""

from collections.abc import Iterator
from pathlib import Path

from autovid.data.layouts import Layout, ListedVideo, files, one_file, ordered
from autovid.data.lists import cells, lines, whole_number
from autovid.errors import DataError

HMDB51_SPLITS = {"1": "train", "2": "val"}


def read_moments(root: Path, fold: int) -> Layout:
    """Read the classes in the order of their numbers, and both lists."""
    path = one_file(root, "moments_categories.txt")
    numbers = {}
    for where, line in lines(path):
        name, _, number = line.rpartition(",")
        numbers[name.strip()] = whole_number(where, "number", number)
    classes = ordered(path, numbers)
    lists = {"train": "trainingSet.csv", "val": "validationSet.csv"}
    rows = [row for split, name in lists.items() for row in _moments_rows(one_file(root, name), split, numbers)]
    return Layout(classes, rows)


def read_ucf101(root: Path, fold: int) -> Layout:
    """Read the classes in the order of their numbers, and both lists of a fold."""
    path = one_file(root, "classInd.txt")
    numbers = {}
    for where, line in lines(path):
        number, _, name = line.partition(" ")
        numbers[name.strip()] = whole_number(where, "number", number) - 1
    classes = ordered(path, numbers)
    lists = {"train": f"trainlist{fold:02d}.txt", "val": f"testlist{fold:02d}.txt"}
    rows = [row for split, name in lists.items() for row in _ucf101_rows(one_file(root, name), split, numbers)]
    return Layout(classes, rows)


def read_hmdb51(root: Path, fold: int) -> Layout:
    """Read the lists of a fold, a class each; classes in alphabetical order."""
    suffix = f"_test_split{fold}.txt"
    lists = {path.name.removesuffix(suffix): path for path in files(root, f"*{suffix}")}
    if not lists:
        raise DataError(f"{root}: no files CLASS{suffix} here or in a folder right below; they come with the data set")
    classes = tuple(sorted(lists))
    return Layout(classes, [row for label in classes for row in _hmdb51_rows(lists[label], label)])


def _moments_rows(path: Path, split: str, classes: dict[str, int]) -> Iterator[ListedVideo]:
    for where, row in cells(path):
        if len(row) < 2 or not row[0]:
            raise DataError(f"{where}: not a path and a class")
        if row[1] not in classes:
            raise DataError(f"{where}: class {row[1]!r} is not in moments_categories.txt")
        yield ListedVideo(where, row[0], row[1], split)


def _ucf101_rows(path: Path, split: str, classes: dict[str, int]) -> Iterator[ListedVideo]:
    for where, line in lines(path):
        video, _, number = line.partition(" ")
        label, _, name = video.rpartition("/")
        if label not in classes or not name:
            raise DataError(f"{where}: {line!r}: expected CLASS/VIDEO.avi, with a class of classInd.txt")
        if number and whole_number(where, "number", number) - 1 != classes[label]:
            raise DataError(f"{where}: number {number} is not that of {label} in classInd.txt")
        yield ListedVideo(where, video, label, split)


def _hmdb51_rows(path: Path, label: str) -> Iterator[ListedVideo]:
    for where, line in lines(path):
        name, _, number = line.rpartition(" ")
        if number not in ("0", "1", "2") or not name.strip():
            raise DataError(f"{where}: {line!r}: expected a video and 0, 1 or 2")
        if number != "0":
            yield ListedVideo(where, f"{label}/{name.strip()}", label, HMDB51_SPLITS[number])
