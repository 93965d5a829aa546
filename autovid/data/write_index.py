"""Indexes on disk: the CSV of a VideoSet, and beside it what a CSV cannot say."""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec

from autovid.data.index import VideoSet
from autovid.data.index_metadata import About, about_path
from autovid.errors import DataError


def write_index(out: Path, videos: VideoSet, made: dict[str, Any]) -> None:
    """Writes `out` and its About, each in one move, the About first. `made`: how the index came to be.

    Paths are relative to the folder of `out` where the videos lie below it, so that both can be moved together;
    otherwise the About names the root. Raises DataError where `out` is no .csv, RunError where it cannot be written.
    """
    from autovid.fileio import explained, write_atomic  # its package imports torch, which readers do without

    if out.suffix.lower() != ".csv":
        raise DataError(f"{out}: an index is a .csv file")
    with explained(f"cannot make {out.parent}"):
        out.parent.mkdir(parents=True, exist_ok=True)
    root, home = videos.root.resolve(), out.parent.resolve()
    below = root.is_relative_to(home)
    prefix = root.relative_to(home) if below else Path()
    about = About(videos.classes, videos.flip, None if below else str(root), made)
    write_atomic(about_path(out), msgspec.json.format(msgspec.json.encode(about)) + b"\n")
    write_atomic(out, _table(videos, prefix))


def _table(videos: VideoSet, prefix: Path) -> str:
    rows = [(split, video) for split in ("train", "val") for video in getattr(videos, split)]
    parts = any(video.start is not None or video.end is not None for _, video in rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", *(["start", "end"] if parts else []), "split"])
    for split, video in rows:
        times = ["" if time is None else f"{time:.10g}" for time in (video.start, video.end)] if parts else []
        writer.writerow([(prefix / video.path).as_posix(), videos.classes[video.label], *times, split])
    return text.getvalue()
