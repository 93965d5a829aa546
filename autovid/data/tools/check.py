"""Decode everything once; report what is broken and why."""

from collections import Counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.data.images import open_video
from autovid.data.index import SPLITS, VideoSet
from autovid.data.lists import csv_text
from autovid.data.shards import Root
from autovid.data.tools.process_videos import (
    Journal,
    Part,
    ProgressDisplay,
    VideoResult,
    VideoTask,
    process,
    stamp,
    tasks,
)
from autovid.data.video import OpenVideo, VideoError


class Checker(msgspec.Struct, frozen=True):
    """Work for `process`: every frame of a video is decoded, and every part of it looked for."""

    root: Root

    def check(self, task: VideoTask) -> VideoResult:
        """Report all that a loader would stumble over."""
        path = self.root / task.path
        state = stamp(path)
        try:
            with open_video(path) as video:
                video.check()
                reasons = tuple(missing(video, part) for part in task.parts)
                return VideoResult(task, state, reasons=reasons, seconds=tuple(seconds(video, p) for p in task.parts))
        except VideoError as error:
            return VideoResult(task, state, str(error))


def check(videos: VideoSet, journal: Journal, workers: int, progress: ProgressDisplay) -> list[VideoResult]:
    """Decode everything in a data set, and return what is known of each file."""
    return process(videos.root, tasks(videos), Checker(videos.root).check, journal, workers, progress)


def sound(videos: VideoSet, results: list[VideoResult]) -> VideoSet:
    """Return the data set without what is broken; its classes stay."""
    bad = _bad(results)
    parts = (videos.train, videos.val, videos.test)
    train, val, test = (tuple(v for v in own if (v.path, (v.start, v.end)) not in bad) for own in parts)
    return msgspec.structs.replace(videos, train=train, val=val, test=test)


def class_table(videos: VideoSet, results: list[VideoResult]) -> tuple[list[str], list[list[str]]]:
    """Return a header, and a row for each class: name, sound videos of each split, broken ones, seconds.

    The test split has a column where there is one.
    """
    bad, good = _bad(results), sound(videos, results)
    length = {(r.task.path, part): s for r in results for part, s in zip(r.task.parts, r.seconds)}
    splits = [good.train, good.val, good.test][: 3 if videos.test else 2]
    rows = []
    for label, name in enumerate(videos.classes):
        counts = [str(sum(label in v.labels for v in own)) for own in splits]
        keys = [(v.path, (v.start, v.end)) for v in videos.videos if label in v.labels]
        total = sum(length.get(key, 0.0) for key in keys if key not in bad)
        rows.append([name, *counts, str(sum(key in bad for key in keys)), f"{total:.0f}"])
    return ["class", *SPLITS[: len(splits)], "broken", "seconds"], rows


def imbalance(videos: VideoSet) -> str:
    """Say how unequal the classes are, where the largest has twice as many videos as the smallest, or more."""
    counts = Counter(label for video in videos.train for label in video.labels)
    if len(counts) < 2 or max(counts.values()) < 2 * min(counts.values()):
        return ""
    most, least = (pick(counts, key=lambda label: counts[label]) for pick in (max, min))
    percentage = f"{100 * counts[most] / len(videos.train):.0f} %"
    return (
        f"{videos.classes[most]} has {counts[most]} videos to train on and {videos.classes[least]} {counts[least]}: "
        f"always to answer {videos.classes[most]} would be right for {percentage} of them; "
        "--balance draws all classes alike, in a search and in a training"
    )


def _bad(results: list[VideoResult]) -> set[tuple[str, Part]]:
    return {
        (result.task.path, part)
        for result in results
        for number, part in enumerate(result.task.parts)
        if result.reason or result.reasons[number]
    }


def broken(results: list[VideoResult]) -> list[tuple[str, str]]:
    """Return (path, reason) of the videos, or parts of them, that cannot be read."""
    whole = [(one.task.path, one.reason) for one in results if one.reason]
    return whole + [(one.task.path, reason) for one in results for reason in one.reasons if reason]


def broken_table(rows: list[tuple[str, str]]) -> str:
    """Return CSV text with a header."""
    return csv_text([("path", "reason"), *rows])


def missing(video: OpenVideo, part: Part) -> str:
    """Return the reason why a part is not in a video; empty where it is."""
    if inside(video, part).any():
        return ""
    return f"no frames from {part[0] or 0:g} to {'the end' if part[1] is None else f'{part[1]:g}'}"


def inside(video: OpenVideo, part: Part) -> NDArray[np.bool_]:
    """Return (len(video),): True for the frames of a whole video that belong to a part of it."""
    start, end = part
    kept: NDArray[np.bool_] = video.marks >= (start or 0)
    return kept if end is None else kept & (video.marks < end)


def seconds(video: OpenVideo, part: Part) -> float:
    """Return how long a part of a video is, or the whole; 0 for pictures without times."""
    kept = video.seconds[inside(video, part)]
    return float(kept[-1] - kept[0]) if len(kept) else 0.0
