"""The layouts that data sets are distributed in: for each a reader of its own lists.

A reader takes the folder of the data set and the number of the official fold, and returns a `Layout`. To add one: a
function in a file, and a line in LAYOUTS.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from autovid.data.file_lookup import SPLITS
from autovid.data.index import Video
from autovid.errors import DataError
from autovid.registry import Registry


class ListedVideo(NamedTuple):
    """A video as a list names it: `where` is "FILE, row N", `path` the last parts of its path.

    `split` is train or val, or empty where the data set has none.
    """

    where: str
    path: str
    label: str
    split: str
    start: float | None = None
    end: float | None = None


Selection: TypeAlias = Callable[[list[tuple[str, Video]], tuple[str, ...], int], list[tuple[str, Video]]]


class Layout(NamedTuple):
    """The content of a data set's lists: its classes in the official order, and its rows.

    `flip`: a mirrored video keeps its class. `choose(videos, classes, seed)` takes some of the (split, video) that
    exist; labels keep their numbers, and classes without a video are dropped from the index afterwards. `exact`: the
    rows are files of the folder, by their very paths. `others`: files that are no videos by their names.
    """

    classes: tuple[str, ...]
    rows: Iterable[ListedVideo]
    flip: bool = True
    choose: Selection | None = None
    exact: bool = False
    others: tuple[str, ...] = ()


LAYOUTS: Registry[Callable[[Path, int], Layout]] = Registry(
    "data set",
    "autovid.layouts",
    {
        name: (about, f"autovid.data.layouts.{place}")
        for name, about, place in (
            (
                "kinetics400",
                "Kinetics-400: the official CSV files or lists of `path label`",
                "kinetics:read_kinetics400",
            ),
            (
                "kinetics200",
                "the 200 largest classes of Kinetics-400, by a seed",
                "kinetics:read_kinetics200",
            ),
            ("ssv1", "Something-Something V1: folders of frames", "something:read_v1"),
            ("ssv2", "Something-Something V2: WebM files", "something:read_v2"),
            ("moments", "Moments in Time", "actions:read_moments"),
            ("ucf101", "UCF101, one of three folds", "actions:read_ucf101"),
            ("hmdb51", "HMDB51, one of three folds", "actions:read_hmdb51"),
            ("ibm", "lists of `path start end label`, as of the paper Deep Analysis", "path_lists:read_ibm"),
            ("cifar100", "CIFAR-100 in binary files", "pictures:read_cifar100"),
            ("imagenet", "ImageNet: a folder of images a class", "pictures:read_imagenet"),
            ("folders", "your own videos, a folder a class", "own:read_folders"),
            ("csv", "your own CSV file of path, label", "own:read_csv"),
        )
    },
)


def files(root: Path, pattern: str) -> list[Path]:
    """Return the files of this name (a glob) in the folder and in the folders right below it."""
    paths = [path for path in [*root.glob(pattern), *root.glob(f"*/{pattern}")] if path.is_file()]
    return sorted(path for path in paths if not path.name.startswith(".") and not path.parent.name.startswith("."))


def one_file(root: Path, *patterns: str) -> Path:
    """Return the file of the first of these names that exists. Raises DataError where none does, or more than one."""
    for pattern in patterns:
        paths = files(root, pattern)
        if len(paths) > 1:
            raise DataError(f"{paths[0]} and {paths[1]}: two lists of the same; leave one in {root}")
        if paths:
            return paths[0]
    raise DataError(f"{root}: no {patterns[0]} here or in a folder right below; it comes with the data set")


def split_of(path: Path) -> str | None:
    """Return train or val where the name of a list says one of them."""
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    return next((split for split, names in SPLITS.items() if words & names - {"test", "testing"}), None)


def ordered(where: Path, numbers: dict[str, int]) -> tuple[str, ...]:
    """Return class names in the order of their numbers, which must be 0, 1, 2, ... Raises DataError."""
    if sorted(numbers.values()) != list(range(len(numbers))) or not numbers:
        raise DataError(f"{where}: the classes' numbers must be 0, 1, 2, ... without a gap")
    return tuple(sorted(numbers, key=lambda name: numbers[name]))
