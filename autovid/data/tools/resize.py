"""The small copy of a data set: short side 256, say, no sound, and stored so that single frames are quickly found.

H.264 with a key frame every few frames, or JPEG frames. How fast either is read: bench/results/decode.md.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np

from autovid.data.file_lookup import EXTENSIONS
from autovid.data.frame_folder import FrameFolder, open_video, write_frames
from autovid.data.images import StillImage, is_image
from autovid.data.index import Video, VideoSet
from autovid.data.tools.check import broken, inside, missing
from autovid.data.tools.process_videos import Done, Journal, Part, Shows, Task, stamp, sweep, tasks
from autovid.data.video import VideoError, VideoFile, write_video
from autovid.errors import DataError, RunError

QUALITY = 20  # of H.264: the rate factor; hardly to be told from the original
JPEG_QUALITY = 90


class Small(msgspec.Struct, frozen=True):
    """How a small copy is made: the short side in pixels (even), and how far key frames are apart, or None for JPEG."""

    short: int
    keyframes: int | None


class Resizer(msgspec.Struct, frozen=True):
    """Work for a sweep: one video is copied, small. The copy is there whole or not at all."""

    root: Path
    out: Path
    small: Small
    names: dict[str, str]

    def resize(self, task: Task) -> Done:
        """Where the copy is, and its parts; or why there is none."""
        source, name = self.root / task.path, self.names[task.path]
        seen, target = stamp(source), self.out / name
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
                return Done(task, seen, "", reasons, Task(name, parts))
        except VideoError as error:
            return Done(task, seen, str(error))
        except OSError as error:
            raise RunError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            _remove(half)

    def _write(self, video: VideoFile | FrameFolder, half: Path) -> None:
        frames = video.every(self.small.short)
        if self.small.keyframes is None:
            write_frames(half, frames, JPEG_QUALITY)
        else:
            seconds = video.seconds - video.seconds[0]
            write_video(half, frames, quality=QUALITY, gop=self.small.keyframes, seconds=seconds)
        with open_video(half) as copy:
            if len(copy) != len(video):
                raise VideoError(f"the copy would have {len(copy)} frames, not {len(video)}")

    def _part(self, video: VideoFile | FrameFolder, part: Part) -> Part:
        """The same frames, as the copy counts them."""
        places = np.flatnonzero(inside(video, part))
        if part == (None, None) or not len(places):
            return part
        if self.small.keyframes is None:  # numbers from 1
            first, last = float(places[0] + 1), float(places[-1] + 2)
        else:  # between the frames, where rounding does no harm
            times = video.seconds - video.seconds[0]
            edges = np.concatenate([times[:1], (times[1:] + times[:-1]) / 2, times[-1:] + 1])
            first, last = float(edges[places[0]]), float(edges[places[-1] + 1])
        return (None if part[0] is None else first), (None if part[1] is None else last)


def resize(
    videos: VideoSet,
    out: Path,
    small: Small,
    open_journal: Callable[[dict[str, Any]], Journal],
    workers: int,
    shows: Shows,
) -> tuple[VideoSet, list[tuple[str, str]]]:
    """The copy of a data set below the folder `out`, and (path, reason) of what is not in it.

    Nothing is made larger; sound is left out, rotation done; a copy has the frames and times of its original. Raises
    DataError where a copy could take the place of a video, the journal is one of another copy, or there are images.
    """
    if image := next((video.path for video in (*videos.train, *videos.val) if is_image(video.path)), None):
        raise DataError(f"{videos.name} has images, {image} say, which are read as they are: resize is for videos")
    root = videos.root.resolve()
    _check_apart(videos, root, out.resolve())
    todo = tasks(videos)
    names = copy_names([task.path for task in todo], "" if small.keyframes is None else ".mp4")
    journal = open_journal({"of": str(root), **msgspec.to_builtins(small)})
    try:
        _forget_removed(journal, out)
        done = sweep(root, todo, Resizer(root, out.resolve(), small, names).resize, journal, workers, shows)
    finally:
        journal.close()
    return _copied(videos, out, done), broken(done)


def _check_apart(videos: VideoSet, root: Path, out: Path) -> None:
    """`out` may lie beside the videos, below the folder of their CSV file, but hold none of them."""
    if root.is_relative_to(out):
        raise DataError(f"{root}, the data set, lies in {out}; give a folder of its own")
    if out.is_relative_to(root):
        for video in (*videos.train, *videos.val):
            if (root / video.path).resolve().is_relative_to(out):
                raise DataError(f"{root / video.path}, of the data set, lies in {out}; give a folder of its own")


def copy_names(paths: list[str], extension: str) -> dict[str, str]:
    """The name of each copy: another extension; the old one stays in the name where two would be the same."""
    bare = {path: _bare(path) + extension for path in paths}
    count = Counter(bare.values())
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return {
        path: name if count[name] == 1 and name not in folders else f"{path}{extension or '.frames'}"
        for path, name in bare.items()
    }


def _bare(path: str) -> str:
    whole = PurePosixPath(path)
    return str(whole.with_suffix("")) if whole.suffix.lower() in EXTENSIONS else path


def _forget_removed(journal: Journal, out: Path) -> None:
    """Copies that somebody has removed are made again."""
    for task, done in list(journal.done.items()):
        if done.new is not None and not (out / done.new.path).exists():
            del journal.done[task]


def _copied(videos: VideoSet, out: Path, done: list[Done]) -> VideoSet:
    new: dict[tuple[str, Part], tuple[str, Part]] = {}
    for one in done:
        if one.new is not None:
            for part, its, reason in zip(one.task.parts, one.new.parts, one.reasons):
                if not reason:
                    new[one.task.path, part] = one.new.path, its
    train, val = (
        tuple(
            Video(new[key][0], video.label, *new[key][1])
            for video in part
            if (key := (video.path, (video.start, video.end))) in new
        )
        for part in (videos.train, videos.val)
    )
    return VideoSet(videos.name, out, videos.classes, train, val, videos.flip)


def _replace(half: Path, target: Path) -> None:
    """Puts the finished copy in its place, where one of a run may stand that was killed before it could say so."""
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
