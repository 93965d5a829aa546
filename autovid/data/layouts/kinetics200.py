"""Kinetics-200: of Kinetics-400 the 200 largest classes, with 400 training and 25 validation videos each.

"Dynamic Normalization and Relay", supplement, section A. Which videos its authors drew is not published: here they are
drawn by a seed from those that exist, and classes are compared by their number of training and validation videos that
exist, equal ones by name.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from autovid.data.index import Video
from autovid.data.layouts import kinetics400
from autovid.data.layouts.layout import Layout

CLASSES = 200
VIDEOS = {"train": 400, "val": 25}


def read(root: Path, fold: int) -> Layout:
    """All rows of Kinetics-400, and the choice."""
    return kinetics400.read(root, fold)._replace(choose=choose)


def choose(found: list[tuple[str, Video]], classes: tuple[str, ...], seed: int) -> list[tuple[str, Video]]:
    """At most VIDEOS of each split of each of the CLASSES largest classes."""
    members: dict[int, dict[str, list[Video]]] = defaultdict(lambda: {"train": [], "val": []})
    for split, video in found:
        members[video.label][split].append(video)
    largest = sorted(members, key=lambda label: (-sum(map(len, members[label].values())), classes[label]))[:CLASSES]
    rng = np.random.default_rng((*b"kinetics200", 256, seed))
    chosen = []
    for label in sorted(largest):
        for split, most in VIDEOS.items():
            own = members[label][split]
            places = sorted(rng.permutation(len(own))[:most].tolist())
            chosen += [(split, own[place]) for place in places]
    return chosen
