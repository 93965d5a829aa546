"""A sub-folder a class, or train/ and val/ with these inside: what `--data FOLDER` reads, written down."""

from pathlib import Path

from autovid.data.layouts.layout import Layout, Row
from autovid.data.sources import open_videos


def read(root: Path, fold: int) -> Layout:
    """Classes in alphabetical order."""
    videos = open_videos(root, holdout=0)
    splits = {"train": videos.train, "val": videos.val} if videos.val else {"": videos.train}
    rows = [
        Row(str(root), video.path, videos.classes[video.label], split) for split in splits for video in splits[split]
    ]
    return Layout(videos.classes, rows)
