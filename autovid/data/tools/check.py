"""Decodes everything once, and says what is broken and why."""

import csv
import io
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from autovid.data.frame_folder import FrameFolder, open_video
from autovid.data.images import StillImage
from autovid.data.index import VideoSet
from autovid.data.tools.process_videos import Done, Journal, Part, Shows, Task, stamp, sweep, tasks
from autovid.data.video import VideoError, VideoFile


class Checker(msgspec.Struct, frozen=True):
    """Work for a sweep: every frame of a video is decoded, and every part of it looked for."""

    root: Path

    def check(self, task: Task) -> Done:
        """What a loader would stumble over."""
        path = self.root / task.path
        seen = stamp(path)
        try:
            with open_video(path) as video:
                video.check()
                return Done(task, seen, reasons=tuple(missing(video, part) for part in task.parts))
        except VideoError as error:
            return Done(task, seen, str(error))


def check(videos: VideoSet, journal: Journal, workers: int, shows: Shows) -> list[tuple[str, str]]:
    """(path, reason) of all that is broken in a data set."""
    done = sweep(videos.root, tasks(videos), Checker(videos.root).check, journal, workers, shows)
    return broken(done)


def broken(done: list[Done]) -> list[tuple[str, str]]:
    """(path, reason) of the videos, or parts of them, that cannot be read."""
    whole = [(one.task.path, one.reason) for one in done if one.reason]
    return whole + [(one.task.path, reason) for one in done for reason in one.reasons if reason]


def broken_table(rows: list[tuple[str, str]]) -> str:
    """CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "reason"), *rows])
    return text.getvalue()


def missing(video: VideoFile | FrameFolder | StillImage, part: Part) -> str:
    """Why a part is not in a video; empty where it is."""
    if inside(video, part).any():
        return ""
    return f"no frames from {part[0] or 0:g} to {'the end' if part[1] is None else f'{part[1]:g}'}"


def inside(video: VideoFile | FrameFolder | StillImage, part: Part) -> NDArray[np.bool_]:
    """(len(video),): which frames of a whole video belong to a part of it."""
    start, end = part
    kept: NDArray[np.bool_] = video.marks >= (start or 0)
    return kept if end is None else kept & (video.marks < end)
