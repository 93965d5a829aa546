"""The order in which training draws videos so that every class comes as often as any other.

Class-aware sampling of Shen, Lin and Huang, "Relay backpropagation for effective learning of deep convolutional neural
networks", 2016, arXiv 1512.05830: the classes take turns in random order, and the videos of each class do as well.

Why not class weights: with 9 clips in one class and 300 in another, weights make a few steps large and leave the rest
without the small class, and the statistics of batch norm still see the large one alone. The clips of one video differ
(other frames, another crop), so that drawing it often is worth more than weighing it. Ours: there is no state. In each
round every class has one turn, so that the number of a class's turn is that of the round.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autovid.data.clips import generator


class BalancedOrder:
    """An endless order of videos, of which video i has the classes `labels[i]`; a video of several has turns of each.

    Every turn is a pure function of (seed, turn). Classes without a video have no turn.
    """

    def __init__(self, seed: int, labels: Sequence[Iterable[int]]) -> None:
        members: dict[int, list[int]] = defaultdict(list)
        for video, own in enumerate(labels):
            for label in own:
                members[label].append(video)
        self._seed = seed
        self._classes = sorted(members)
        self._members = [members[label] for label in self._classes]

    def video(self, turn: int) -> int:
        """Return the video of a turn, counted from 0."""
        turns, place = divmod(turn, len(self._classes))
        number = int(_order("balanced classes", self._seed, len(self._classes), turns)[place])
        own = self._members[number]
        again, place = divmod(turns, len(own))
        return own[int(_order("balanced videos", self._seed, len(own), again, self._classes[number])[place])]


@lru_cache(maxsize=4096)  # one for each class, and the rounds of a batch
def _order(stream: str, seed: int, count: int, *numbers: int) -> NDArray[np.int64]:
    return generator(stream, seed, *numbers).permutation(count)
