"""The small copy of a data set: short side 256, say, no sound, and quick access to single frames.

H.264 with a key frame every few frames, or JPEG frames. Their reading speeds: bench/results/decode.md.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np

from autovid.data.encoding import write_video
from autovid.data.file_lookup import EXTENSIONS
from autovid.data.images import FrameFolder, StillImage, is_image, open_video, write_frames
from autovid.data.index import Video, VideoSet
from autovid.data.shards import Root
from autovid.data.tools.check import broken, inside, missing
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
from autovid.data.video import VideoError, VideoFile
from autovid.errors import DataError, RunError

QUALITY = 20  # of H.264: the rate factor; hardly to be told from the original
JPEG_QUALITY = 90


class CopySettings(msgspec.Struct, frozen=True):
    """Settings of a small copy: the short side in pixels (even), and how far key frames are apart, or None for JPEG."""

    short: int
    keyframes: int | None


class Resizer(msgspec.Struct, frozen=True):
    """Work for `process`: one video is copied, small. The copy exists whole or not at all."""

    root: Root
    out: Path
    settings: CopySettings
    names: dict[str, str]

    def resize(self, task: VideoTask) -> VideoResult:
        """Write the copy; return its place and parts, or why there is none."""
        source, name = self.root / task.path, self.names[task.path]
        state, target = stamp(source), self.out / name
        half = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove(half)  # of a run that was killed
            with open_video(source) as video:
                assert not isinstance(video, StillImage), "`resize` refuses images"
                self._write(video, half)
                _replace(half, target)
                reasons = tuple(missing(video, part) for part in task.parts)
                parts = tuple(self._part(video, part) for part in task.parts)
                return VideoResult(task, state, "", reasons, VideoTask(name, parts))
        except VideoError as error:
            return VideoResult(task, state, str(error))
        except OSError as error:
            raise RunError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            _remove(half)

    def _write(self, video: VideoFile | FrameFolder, half: Path) -> None:
        frames = video.all_frames(self.settings.short)
        if self.settings.keyframes is None:
            write_frames(half, frames, JPEG_QUALITY)
        else:
            seconds = video.seconds - video.seconds[0]
            write_video(half, frames, quality=QUALITY, gop=self.settings.keyframes, seconds=seconds)
        with open_video(half) as copy:
            if len(copy) != len(video):
                raise VideoError(f"the copy would have {len(copy)} frames, not {len(video)}")

    def _part(self, video: VideoFile | FrameFolder, part: Part) -> Part:
        """Return the part of the copy that has the same frames."""
        places = np.flatnonzero(inside(video, part))
        if part == (None, None) or not len(places):
            return part
        if self.settings.keyframes is None:  # numbers from 1
            first, last = float(places[0] + 1), float(places[-1] + 2)
        else:  # between the frames, where rounding does no harm
            times = video.seconds - video.seconds[0]
            half = (times[1:] - times[:-1]) / 2
            edges = np.concatenate([times[:1], times[:-1] + half, times[-1:] + (half[-1:] if len(half) else 0.5)])
            first, last = float(edges[places[0]]), float(edges[places[-1] + 1])
        return (None if part[0] is None else first), (None if part[1] is None else last)


def resize(
    videos: VideoSet,
    out: Path,
    settings: CopySettings,
    open_journal: Callable[[dict[str, Any]], Journal],
    workers: int,
    progress: ProgressDisplay,
) -> tuple[VideoSet, list[tuple[str, str]]]:
    """Copy a data set below the folder `out`; return the copy, and (path, reason) of what is not in it.

    Nothing is made larger; sound is left out, rotation done; a copy has the frames and times of its original. Raises
    DataError where a copy could take the place of a video, the journal is one of another copy, or there are images.
    """
    if image := next((video.path for video in videos.videos if is_image(video.path)), None):
        raise DataError(f"{videos.name} has images, {image} say, which are read as they are: resize is for videos")
    root = videos.root.resolve()
    _check_apart(videos, root, out.resolve())
    todo = tasks(videos)
    names = copy_names([task.path for task in todo], "" if settings.keyframes is None else ".mp4")
    journal = open_journal({"of": str(root), **msgspec.to_builtins(settings)})
    try:
        for task, result in list(journal.results.items()):
            if result.new is not None and not (out / result.new.path).exists():
                del journal.results[task]  # a copy that somebody has removed is made again
        work = Resizer(root, out.resolve(), settings, names).resize
        results = process(root, todo, work, journal, workers, progress)
    finally:
        journal.close()
    return _copied(videos, out, results), broken(results)


def moved_times(videos: VideoSet, copy: VideoSet) -> str:
    """Say that the copy's parts have other times than the original's, where they have; their frames are the same."""
    old, new = ({v.start for v in s.videos} | {v.end for v in s.videos} for s in (videos, copy))
    if not new - old:
        return ""
    return (
        "start and end are those of the copies: they lie between two frames, so that each part has the frames that it "
        "had, and differ from yours by less than a frame"
    )


def _check_apart(videos: VideoSet, root: Root, out: Path) -> None:
    """Raise DataError where `out` has a video of the set; it may lie below the folder of their CSV file."""
    if not isinstance(root, Path):
        return
    if root.is_relative_to(out):
        raise DataError(f"{root}, the data set, lies in {out}; give a folder of its own")
    if out.is_relative_to(root):
        for video in videos.videos:
            if (root / video.path).resolve().is_relative_to(out):
                raise DataError(f"{root / video.path}, of the data set, lies in {out}; give a folder of its own")


def copy_names(paths: list[str], extension: str) -> dict[str, str]:
    """Return the name of each copy: another extension; the old one stays in the name where two would be the same."""
    bare = {}
    for path in paths:
        stem, suffix = os.path.splitext(path)
        bare[path] = (stem if suffix.lower() in EXTENSIONS else path) + extension
    count = Counter(bare.values())
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return {
        path: name if count[name] == 1 and name not in folders else f"{path}{extension or '.frames'}"
        for path, name in bare.items()
    }


def _copied(videos: VideoSet, out: Path, results: list[VideoResult]) -> VideoSet:
    new: dict[tuple[str, Part], tuple[str, Part]] = {}
    for result in results:
        if result.new is not None:
            for part, new_part, reason in zip(result.task.parts, result.new.parts, result.reasons):
                if not reason:
                    new[result.task.path, part] = result.new.path, new_part
    train, val, test = (
        tuple(
            Video(new[key][0], video.label, *new[key][1], video.also)
            for video in part
            if (key := (video.path, (video.start, video.end))) in new
        )
        for part in (videos.train, videos.val, videos.test)
    )
    return VideoSet(videos.name, out, videos.classes, train, val, videos.flip, test)


def _replace(half: Path, target: Path) -> None:
    """Move the finished copy to its place, where one of a killed run may stand that is not in the journal."""
    if half.is_file():
        fd = os.open(half, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    _remove(target)
    os.replace(half, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
