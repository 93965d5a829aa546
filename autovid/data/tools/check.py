"""Decode everything once; report what is broken and why."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.data.images import open_video
from autovid.data.index import VideoSet
from autovid.data.lists import csv_text
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

    root: Path

    def check(self, task: VideoTask) -> VideoResult:
        """Report all that a loader would stumble over."""
        path = self.root / task.path
        state = stamp(path)
        try:
            with open_video(path) as video:
                video.check()
                return VideoResult(task, state, reasons=tuple(missing(video, part) for part in task.parts))
        except VideoError as error:
            return VideoResult(task, state, str(error))


def check(videos: VideoSet, journal: Journal, workers: int, progress: ProgressDisplay) -> list[tuple[str, str]]:
    """Return (path, reason) of all that is broken in a data set."""
    return broken(process(videos.root, tasks(videos), Checker(videos.root).check, journal, workers, progress))


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
