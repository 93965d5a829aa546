"""Every class is drawn as often as any other, whatever the number of its videos, by a pure function of (seed, turn).

Clips are equal to the bit: the same code decodes the same file in this process and in another.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch

from autovid.clip import Clip
from autovid.data import ClipLoader, VideoSet, open_videos
from autovid.data.order import BalancedOrder

LABELS = [0] * 9 + [1] * 40 + [3] * 3  # class 2 has no video
CLIP = Clip(frames=2, crop=16, stride=2)


@pytest.fixture(scope="module")
def unequal(tiny_videos: Path) -> VideoSet:
    """Two videos of the first class, one of the second."""
    videos = open_videos(tiny_videos)
    return VideoSet("unequal", videos.root, videos.classes, videos.train[:3], videos.val)


def test_classes_alternate_and_videos_take_turns() -> None:
    order = BalancedOrder(7, [[label] for label in LABELS])
    drawn = [order.video(turn) for turn in range(3 * 40)]
    rounds = [{LABELS[video] for video in drawn[first : first + 3]} for first in range(0, 120, 3)]
    assert rounds == [{0, 1, 3}] * 40
    counts = Counter(drawn)
    assert [counts[video] for video in range(9, 49)] == [1] * 40
    assert {counts[video] for video in range(9)} == {4, 5}
    assert {counts[video] for video in range(49, 52)} == {13, 14}
    assert drawn == [BalancedOrder(7, [[label] for label in LABELS]).video(turn) for turn in range(120)]
    assert drawn != [BalancedOrder(8, [[label] for label in LABELS]).video(turn) for turn in range(120)]


def test_a_video_of_several_classes_has_turns_of_each() -> None:
    order = BalancedOrder(0, [[0, 1], [0], [0]])
    counts = Counter(order.video(turn) for turn in range(12))
    assert counts == {0: 8, 1: 2, 2: 2}


@pytest.mark.slow
def test_a_loader_draws_alike_from_any_step_with_any_workers_and_shards(unequal: VideoSet) -> None:
    def batches(first: int, **options: object) -> list[tuple[torch.Tensor, list[int]]]:
        loader = ClipLoader(
            unequal.train, unequal.root, CLIP, batch=4, train=True, seed=1, balance=True, **options  # type: ignore[arg-type]
        )  # fmt: skip
        drawn = [(batch.x, batch.video.tolist()) for batch in loader.batches(first, 4)]
        loader.close()
        return drawn

    whole = batches(0)
    assert Counter(unequal.train[i].label for _, videos in whole for i in videos) == {0: 8, 1: 8}
    resumed, halves = batches(2, workers=1), [batches(0, shard=(rank, 2)) for rank in range(2)]
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(whole[2:], resumed, strict=True))
    for (x, _), (left, _), (right, _) in zip(whole, *halves):
        assert torch.equal(x, torch.cat([left, right]))
