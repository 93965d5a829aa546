"""CIFAR-100 and ImageNet.

CIFAR-100: train.bin, test.bin and fine_label_names.txt of `cifar-100-binary`. A row is a record, `train.bin#0` on. The
images of test.bin are its validation, as in the papers.

ImageNet: train/n01440764/*.JPEG, val/n01440764/*.JPEG; the classes' words in LOC_synset_mapping.txt or
synset_words.txt (`n01440764 tench, Tinca tinca`) where there is one.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from autovid.data.file_lookup import inside
from autovid.data.images import EXTENSIONS, fine_labels
from autovid.data.layouts import Layout, ListedVideo, files, one_file
from autovid.data.lists import lines
from autovid.errors import DataError

CIFAR100_FILES = {"train": "train.bin", "val": "test.bin"}
WORDNET = re.compile(r"n\d{8}")
WORD_LISTS = ("LOC_synset_mapping.txt", "synset_words.txt")


def read_cifar100(root: Path, fold: int) -> Layout:
    """Read the fine labels, in the order of their file, and list every record."""
    path = one_file(root, "fine_label_names.txt")
    classes = tuple(name for _, name in lines(path))
    if len(set(classes)) < len(classes):
        raise DataError(f"{path}: a class is named twice")
    rows = [row for split in CIFAR100_FILES for row in _records(root, split, classes)]
    return Layout(classes, rows, exact=True)


def read_imagenet(root: Path, fold: int) -> Layout:
    """List the images; classes in the order of their WordNet numbers, which replace words missing or not unique."""
    folders = {split: _class_folders(root, root / split) for split in ("train", "val")}
    numbers = sorted({path.name for paths in folders.values() for path in paths})
    words = _words(root)
    count = Counter(words.get(number) for number in numbers)
    names = {n: words[n] if count[words.get(n)] == 1 else f"{words[n]} ({n})" if n in words else n for n in numbers}
    rows = (row for split, paths in folders.items() for path in paths for row in _images(root, path, names, split))
    return Layout(tuple(names.values()), rows, exact=True)


def _records(root: Path, split: str, classes: tuple[str, ...]) -> Iterator[ListedVideo]:
    path = one_file(root, CIFAR100_FILES[split])
    if not inside(root, path):
        raise DataError(f"{path}: a link that leaves {root}; put the file itself there")
    listed = path.relative_to(root).as_posix()
    for number, label in enumerate(fine_labels(path).tolist()):
        if label >= len(classes):
            names = f"fine_label_names.txt has {len(classes)} names"
            raise DataError(f"{path}, record {number}: label {label}, but {names}")
        yield ListedVideo(str(path), f"{listed}#{number}", classes[label], split)


def _class_folders(root: Path, top: Path) -> list[Path]:
    folders = [path for path in sorted(top.glob("n*")) if WORDNET.fullmatch(path.name) and path.is_dir()]
    if not folders:
        raise DataError(f"{top}: no folders called like n01440764; each class's images belong into one of their own")
    for path in folders:
        if not inside(root, path):
            raise DataError(f"{path}: a link that leaves {root}; put the folder itself there")
    return folders


def _images(root: Path, folder: Path, names: dict[str, str], split: str) -> Iterator[ListedVideo]:
    where, listed = str(folder), folder.relative_to(root).as_posix()
    for name in sorted(os.listdir(folder)):
        if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
            yield ListedVideo(where, f"{listed}/{name}", names[folder.name], split)


def _words(root: Path) -> dict[str, str]:
    if not any(files(root, name) for name in WORD_LISTS):
        return {}
    words = {}
    for where, line in lines(one_file(root, *WORD_LISTS)):
        number, _, text = line.partition(" ")
        if not WORDNET.fullmatch(number) or not text.strip():
            raise DataError(f"{where}: {line[:100]!r} is not a WordNet number and words")
        words[number] = text.strip()
    return words
