"""The Mini- sets of "Deep Analysis of CNN-based Spatio-temporal Representations": half of the classes at random.

Which half its authors drew is not published; here a seed draws it, and the index says which seed and which classes.
"""

from typing import Any

import numpy as np

from autovid.data.index import Video, VideoSet
from autovid.errors import DataError


def mini(videos: VideoSet, seed: int) -> tuple[VideoSet, dict[str, Any]]:
    """The videos of half of the classes (rounded down), renumbered in the same order; and how they were drawn."""
    if len(videos.classes) < 2:
        raise DataError(f"{videos.name}: half of {len(videos.classes)} class is none")
    drawn = np.random.default_rng((*b"mini", 256, seed)).permutation(len(videos.classes))[: len(videos.classes) // 2]
    new = {int(old): label for label, old in enumerate(sorted(drawn.tolist()))}
    train, val = (
        tuple(Video(v.path, new[v.label], v.start, v.end) for v in part if v.label in new)
        for part in (videos.train, videos.val)
    )
    chosen = VideoSet(
        f"mini-{videos.name}", videos.root, tuple(videos.classes[i] for i in new), train, val, videos.flip
    )
    made = {
        "by": "half of the classes, at random",
        "of": videos.name,
        "classes of it": len(videos.classes),
        "seed": seed,
    }
    return chosen, made
