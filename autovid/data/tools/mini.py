"""The Mini- sets: half of the classes at random.

Chen et al., "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition", 2021, arXiv
2010.11757.

The authors published the classes of Kinetics-400 (200) and Something-Something V2 (87) that they drew:
`mini_classes.json`, `classes="ibm"`. Of other data sets a seed draws here, which is ours. The Mini-Kinetics-200 of Xie
et al., "Rethinking spatiotemporal feature learning", 2018, arXiv 1712.04851, is another set: give its
classes as a file.
"""

import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from autovid.data.index import Video, VideoSet
from autovid.data.lists import lines
from autovid.errors import DataError

LISTS = Path(__file__).with_name("mini_classes.json")
NAMED = 5  # so many names in an error


class _PublishedLists(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    lists: dict[str, list[str]]


def mini(videos: VideoSet, seed: int = 0, classes: str | None = None) -> tuple[VideoSet, dict[str, Any]]:
    """Return the videos of some of the classes, renumbered in the same order; and the provenance of the choice.

    `classes`: "ibm", or a text file with a name a line; None draws half of them (rounded down) by `seed`. Capitals,
    underscores and white space do not matter in names. Raises DataError for names that the data set does not have.
    """
    kept, provenance = _drawn(videos, seed) if classes is None else _listed(videos, classes)
    new = {old: label for label, old in enumerate(sorted(kept))}
    train, val, test = (
        tuple(Video(v.path, own[0], v.start, v.end, own[1:]) for v in part if (own := _renumbered(v, new)))
        for part in (videos.train, videos.val, videos.test)
    )
    names = tuple(videos.classes[label] for label in new)
    chosen = VideoSet(f"mini-{videos.name}", videos.root, names, train, val, videos.flip, test)
    return chosen, {**provenance, "of": videos.name, "classes of it": len(videos.classes)}


def _renumbered(video: Video, new: dict[int, int]) -> tuple[int, ...]:
    """Return the new labels of a video's classes that stay."""
    return tuple(new[label] for label in video.labels if label in new)


def _drawn(videos: VideoSet, seed: int) -> tuple[list[int], dict[str, Any]]:
    count = len(videos.classes)
    if count < 2:
        raise DataError(f"{videos.name}: half of {count} class is none")
    drawn: list[int] = np.random.default_rng((*b"mini", 256, seed)).permutation(count)[: count // 2].tolist()
    return drawn, {"by": "half of the classes, at random", "seed": seed}


def _listed(videos: VideoSet, classes: str) -> tuple[list[int], dict[str, Any]]:
    labels: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(videos.classes):
        labels[_plain(name)].append(label)
    names, source = _published(labels) if classes == "ibm" else ([name for _, name in lines(Path(classes))], classes)
    if not names:
        raise DataError(f"{source}: no classes; expected a name a line")
    kept = [label for name in names for label in labels.get(_plain(name), ())]
    if unknown := [name for name in names if _plain(name) not in labels]:
        some = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        raise DataError(f"{videos.name} does not have {len(unknown)} of the {len(names)} classes of {source}: {some}")
    if len(set(kept)) != len(names):
        raise DataError(f"{source}: its {len(names)} names stand for {len(set(kept))} classes of {videos.name}")
    return kept, {"by": "a list of classes", "list": source}


def _published(labels: dict[str, list[int]]) -> tuple[list[str], str]:
    """Return the authors' list that shares most with these classes."""
    published = msgspec.json.decode(LISTS.read_bytes(), type=_PublishedLists)
    overlap = {name: sum(_plain(one) in labels for one in own) / len(own) for name, own in published.lists.items()}
    best = max(overlap, key=lambda name: overlap[name])
    return published.lists[best], f"ibm's Mini- set of {best}"


def _plain(name: str) -> str:
    """Return the common form of the spellings of a class."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").casefold().split())
