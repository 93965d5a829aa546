"""Videos for a report: of the worst confusions one that is taken for the other class, and what the network looks at."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.data import Video, VideoSet, open_videos
from autovid.data.clips import read_clip
from autovid.data.loader import normalised
from autovid.errors import AutovidError, ConfigError, DataError
from autovid.report.cam import ActivationMap, activation_map
from autovid.report.filmstrip import overlay
from autovid.report.runs import Confusion, Run
from autovid.report.subject import Subject, open_run

TRIED = 8  # videos of a class, until one is found that is taken for the other
SIDE = 104  # pixels of a frame in a strip
COLUMNS = 8  # frames of a strip
QUALITY = 78  # of JPEG

Pixels = NDArray[np.uint8]


class Look(NamedTuple):
    """A video of a class: one frame of it, a strip of its frames over those under the map, both as data URIs."""

    actual: str
    predicted: str
    probability: float
    path: str
    frame: str
    strip: str
    frames: int  # side by side in it


def look(run: Run, confusions: Sequence[Confusion]) -> tuple[dict[Confusion, Look], list[Look], str]:
    """Of each confusion an example if there is one; a hit; and why there is nothing, where there is nothing."""
    try:
        subject = open_run(run.path, "cpu")
        videos = open_videos(_source(run))
    except AutovidError as error:
        return {}, [], f"{run.name}: no frames in the report: {error}"
    if videos.classes != subject.classes:
        return {}, [], f"{run.name}: no frames in the report: {_source(run)} has other classes now"
    try:
        examples = {one: found for one in confusions if (found := _example(subject, videos, one.actual, one.taken))}
        hit = next((found for name in _liked(run) if (found := _example(subject, videos, name, name))), None)
    except ConfigError as error:  # a network without such a map
        return {}, [], f"{run.name}: no frames in the report: {error}"
    hits = [hit] if hit else []
    return examples, hits, ""


def _source(run: Run) -> str:
    checkpoint = run.directory.latest()
    return str(checkpoint.state.info["source"]) if checkpoint else ""


def _liked(run: Run) -> list[str]:
    """The classes that are known best, best first."""
    best = run.best
    known = {name: top1 for name, top1 in best[1].top1_of_classes.items() if top1} if best else {}
    return sorted(known, key=lambda name: -known[name])[:3]


def _example(subject: Subject, videos: VideoSet, actual: str, wanted: str) -> Look | None:
    """The first video of class `actual` that is taken for `wanted`."""
    mine = [video for video in videos.val if videos.classes[video.label] == actual]
    for video in mine[:TRIED]:
        try:
            found = _seen(subject, videos, video)
        except DataError:
            continue  # a broken one
        if subject.class_name(found.target) == wanted:
            return _look(found, subject, actual, video.path)
    return None


def _seen(subject: Subject, videos: VideoSet, video: Video) -> ActivationMap:
    pixels, _ = read_clip(videos.root / video.path, subject.clip, video.start, video.end)
    return activation_map(subject.net, normalised(pixels[None], subject.clip).to(subject.device), subject.clip)


def _look(found: ActivationMap, subject: Subject, actual: str, path: str) -> Look:
    chosen = np.linspace(0, len(found.pixels) - 1, min(COLUMNS, len(found.pixels))).round().astype(int)
    plain, warm = found.pixels[chosen], overlay(found.pixels[chosen], found.heat[chosen])
    strip = np.concatenate([_row(plain), _row(warm)])
    frame = _sized(plain[len(plain) // 2])
    name = subject.class_name(found.target)
    return Look(actual, name, float(found.probabilities[found.target]), path, _uri(frame), _uri(strip), len(plain))


def _row(frames: Pixels) -> Pixels:
    return np.concatenate([_sized(frame) for frame in frames], 1)


def _sized(frame: Pixels) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _uri(image: Pixels) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
