"""ImageNet: train/n01440764/*.JPEG, val/n01440764/*.JPEG; the classes' words in LOC_synset_mapping.txt or
synset_words.txt (`n01440764 tench, Tinca tinca`) where there is one."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from autovid.data.file_lookup import inside
from autovid.data.images import EXTENSIONS
from autovid.data.layouts.layout import Layout, Row, files, lines, one_file
from autovid.errors import DataError

WORDNET = re.compile(r"n\d{8}")
NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")


def read(root: Path, fold: int) -> Layout:
    """Classes in the order of their WordNet numbers, which stand for words that are missing or not unique."""
    found = {split: _folders(root, root / split) for split in ("train", "val")}
    numbers = sorted({folder.name for folders in found.values() for folder in folders})
    words = _words(root)
    count = Counter(words.get(number) for number in numbers)
    names = {n: words[n] if count[words.get(n)] == 1 else f"{words[n]} ({n})" if n in words else n for n in numbers}
    rows = (row for split, folders in found.items() for folder in folders for row in _rows(root, folder, names, split))
    return Layout(tuple(names.values()), rows, exact=True)


def _folders(root: Path, top: Path) -> list[Path]:
    found = [path for path in sorted(top.glob("n*")) if WORDNET.fullmatch(path.name) and path.is_dir()]
    if not found:
        raise DataError(f"{top}: no folders called like n01440764; each class's images belong into one of their own")
    for path in found:
        if not inside(root, path):
            raise DataError(f"{path}: a link that leaves {root}; put the folder itself there")
    return found


def _rows(root: Path, folder: Path, names: dict[str, str], split: str) -> Iterator[Row]:
    where, listed = str(folder), folder.relative_to(root).as_posix()
    for name in sorted(os.listdir(folder)):
        if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
            yield Row(where, f"{listed}/{name}", names[folder.name], split)


def _words(root: Path) -> dict[str, str]:
    if not any(files(root, name) for name in NAMES):
        return {}
    words = {}
    for where, line in lines(one_file(root, *NAMES)):
        number, _, text = line.partition(" ")
        if not WORDNET.fullmatch(number) or not text.strip():
            raise DataError(f"{where}: {line[:100]!r} is not a WordNet number and words")
        words[number] = text.strip()
    return words
