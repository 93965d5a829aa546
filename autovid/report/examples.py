"""Example videos for a report: one for each of the worst confusions, one classified correctly, and their maps."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.data import VideoSet, open_videos
from autovid.data.clips import read_clip
from autovid.data.loader import normalised
from autovid.errors import AutovidError, ConfigError, DataError
from autovid.report.cam import ActivationMap, LabelledNetwork, activation_map, open_run
from autovid.report.filmstrip import overlay
from autovid.report.runs import Confusion, Run

TRIED = 8  # videos of a class, until one is predicted as the class that is looked for
SIDE = 104  # pixels of a frame in a strip
COLUMNS = 8  # frames of a strip
QUALITY = 78  # of JPEG

Pixels = NDArray[np.uint8]


class VideoExample(NamedTuple):
    """A video of a class: one frame of it, a strip of its frames over those under the map, both as data URIs."""

    actual: str
    predicted: str
    probability: float
    path: str
    frame: str
    strip: str
    frames: int  # side by side in the strip


class Examples(NamedTuple):
    """The examples of a run: by confusion, and a hit; `reason` says why there are none."""

    confusions: dict[Confusion, VideoExample]
    hits: list[VideoExample]
    reason: str = ""


def find_examples(run: Run, confusions: Sequence[Confusion]) -> Examples:
    """Find an example of each confusion, if there is one, and a hit, in the data that the run was trained on."""
    checkpoint = run.directory.latest()
    source = str(checkpoint.state.info["source"]) if checkpoint else ""
    try:
        network = open_run(run.path, "cpu")
        videos = open_videos(source, seed=int(run.config.get("recipe", {}).get("seed", 0)))
    except AutovidError as error:
        return Examples({}, [], f"{run.name}: no frames in the report: {error}")
    if videos.classes != network.classes:
        return Examples({}, [], f"{run.name}: no frames in the report: {source} has other classes now")
    top1 = {name: value for name, value in run.best[1].of_classes.items() if value} if run.best else {}
    likely = sorted(top1, key=lambda name: -top1[name])[:3]
    try:
        pairs = ((one, _example(network, videos, one.actual, one.predicted)) for one in confusions)
        examples = {one: example for one, example in pairs if example}
        hit = next((example for name in likely if (example := _example(network, videos, name, name))), None)
    except ConfigError as error:  # a network without such a map
        return Examples({}, [], f"{run.name}: no frames in the report: {error}")
    return Examples(examples, [hit] if hit else [])


def _example(network: LabelledNetwork, videos: VideoSet, actual: str, predicted: str) -> VideoExample | None:
    """Find the first video of class `actual` whose predicted class is `predicted`."""
    candidates = [video for video in videos.val if actual in (videos.classes[label] for label in video.labels)]
    for video in candidates[:TRIED]:
        try:
            pixels, _ = read_clip(videos.root / video.path, network.clip, video.start, video.end)
        except DataError:
            continue  # a broken one
        x = normalised(pixels[None], network.clip).to(network.device)
        activation = activation_map(network.net, x, network.clip)
        if network.class_name(activation.target) == predicted:
            return _picture(activation, actual, predicted, video.path)
    return None


def _picture(activation: ActivationMap, actual: str, predicted: str, path: str) -> VideoExample:
    count = len(activation.pixels)
    chosen = np.linspace(0, count - 1, min(COLUMNS, count)).round().astype(int)
    plain, warm = activation.pixels[chosen], overlay(activation.pixels[chosen], activation.heat[chosen])
    rows = [np.concatenate([_resized(frame) for frame in frames], 1) for frames in (plain, warm)]
    frame, strip = _uri(_resized(plain[len(plain) // 2])), _uri(np.concatenate(rows))
    probability = float(activation.probabilities[activation.target])
    return VideoExample(actual, predicted, probability, path, frame, strip, len(plain))


def _resized(frame: Pixels) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _uri(image: Pixels) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
