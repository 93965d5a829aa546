"""Activation maps as pictures: a filmstrip, with a row for every model under the frames it saw, a film, and examples.

Models that saw the same frames stand under one row of these; a model that samples others has its own. The examples are
of a report: a video for each of the worst confusions, one classified correctly, and their maps.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray

from autovid.data import VideoSet, open_videos
from autovid.data.clips import read_clip
from autovid.data.encoding import can_write, write_video
from autovid.data.loader import normalised
from autovid.data.transforms import resize
from autovid.errors import AutovidError, ConfigError, DataError
from autovid.fileio import explained, png_bytes
from autovid.report.cam import ActivationMap, LabelledNetwork, activation_map, open_run
from autovid.report.runs import Confusion, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Pixels = NDArray[np.uint8]

COLUMNS = 8  # of the filmstrip; of more frames it shows as many, evenly spread
COLOURS = "inferno"  # rises in lightness all the way: the same to all eyes, and in print
LUMA = 0.299, 0.587, 0.114
COLD, HOT = 0.25, 0.7  # how opaque the heat is over a frame
SIDE, GAP, TITLE, CAPTION, LEGEND = 1.3, 0.05, 0.36, 0.24, 0.4  # inches of the filmstrip
TILE, HEADER, BAR = 288, 64, 6  # pixels of the film
RATE, SHORTEST, LONGEST = 25, 2.0, 12.0  # frames a second and seconds of the film
MUTED = "#5c6370"


class MapRow(NamedTuple):
    """A model's map of a clip, the seconds (t,) at which its frames are shown, and the text beside it."""

    map: ActivationMap
    seconds: NDArray[np.float64]
    name: str
    caption: str


def overlay(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Blend frames (t, H, W, 3) without their own colours with their heat (t, H, W) in 0 ... 1."""
    grey = pixels @ np.array(LUMA, dtype=np.float32)
    colours = matplotlib.colormaps[COLOURS](heat)[..., :3] * 255
    opacity = COLD + (HOT - COLD) * heat[..., None]
    mixed: Pixels = np.rint((1 - opacity) * grey[..., None] + opacity * colours).astype(np.uint8)
    return mixed


def filmstrip_png(rows: Sequence[MapRow], title: str) -> bytes:
    """Draw the filmstrip as a PNG."""
    from matplotlib.figure import Figure

    groups = _groups(rows)
    columns = max(4, *(len(_spread(len(group[0].seconds))) for group in groups))
    width = columns * (SIDE + GAP) + GAP
    height = TITLE + sum((len(group) + 1) * (CAPTION + SIDE) for group in groups) + LEGEND
    figure = Figure(figsize=(width, height), dpi=160)
    label = partial(figure.text, va="center", parse_math=False)  # names may hold dollar signs
    label(GAP / width, 1 - TITLE / 2 / height, title, fontsize=10, weight="bold")
    top = height - TITLE
    for group in groups:
        seconds, plain = group[0].seconds, group[0].map.pixels
        _line(figure, top, plain, [f"{moment:.2f} s" for moment in seconds])
        for number, row in enumerate(group, 1):
            bottom = top - number * (CAPTION + SIDE)
            _line(figure, bottom, overlay(row.map.pixels, row.map.heat))
            caption = f"{row.name}: {row.caption}"
            label(GAP / width, (bottom - CAPTION / 2) / height, caption, fontsize=8)
        top -= (len(group) + 1) * (CAPTION + SIDE)
    _legend(figure)
    return png_bytes(figure)


def _line(figure: "Figure", top: float, images: Pixels, captions: Sequence[str] = ()) -> None:
    """Draw images side by side, `top` inches above the figure's lower edge, with room for captions over them."""
    width, height = figure.get_size_inches()
    for column, i in enumerate(_spread(len(images))):
        left, bottom = GAP + column * (SIDE + GAP), top - CAPTION - SIDE
        axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
        axes.imshow(images[i], interpolation="bilinear")
        axes.set_axis_off()
        if captions:
            x, y = (left + SIDE / 2) / width, (top - CAPTION / 2) / height
            figure.text(x, y, captions[i], ha="center", va="center", fontsize=7, color=MUTED)


def _legend(figure: "Figure") -> None:
    """Explain the colours."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes(((GAP + 1.5) / width, 0.15 / height, 1.2 / width, 0.1 / height))
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=COLOURS)
    axes.set_axis_off()
    for x, text in ((GAP, "does not speak for the class"), (GAP + 2.8, "does, more than all else in the clip")):
        figure.text(x / width, 0.2 / height, text, va="center", fontsize=7, color=MUTED)


def write_film(path: Path, rows: Sequence[MapRow], title: str) -> None:
    """Write the film as an MP4: the frames, and beside them every model's map of them, in real time.

    A clip shorter than 2 s is slowed down to that, one longer than 12 s sped up. Every frame stands until the next.
    Raises DataError where PyAV cannot write H.264, RunError where the file cannot be written.
    """
    if not can_write():
        raise DataError("this PyAV cannot write H.264 (no libx264): install its wheel with 'pip install av'")
    with explained(f"cannot write {path}"):
        write_video(path, _film(rows, title), quality=18, gop=RATE)


def _film(rows: Sequence[MapRow], title: str) -> Iterator[Pixels]:
    tiles, captions = [], []
    for group in _groups(rows):
        tiles.append((group[0].seconds, _tiles(group[0].map.pixels)))
        captions.append(("frames", title))
        for row in group:
            tiles.append((row.seconds, _tiles(overlay(row.map.pixels, row.map.heat))))
            captions.append((row.name, row.caption))
    header = _header(captions)
    start = min(seconds[0] for seconds, _ in tiles)
    span = max(seconds[-1] + _step(seconds) for seconds, _ in tiles) - start
    count = round(RATE * min(max(span, SHORTEST), LONGEST))
    for number in range(count):
        now = start + span * number / count + 1e-9
        shown = [images[max(0, int(np.searchsorted(seconds, now, "right")) - 1)] for seconds, images in tiles]
        yield np.concatenate([header, np.concatenate(shown, 1), _bar(header.shape[1], (number + 1) / count)])


def _tiles(frames: Pixels) -> Pixels:
    return np.stack([resize(frame, TILE, TILE) for frame in frames])


def _step(seconds: NDArray[np.float64]) -> float:
    """Return how long the last frame stands: as long as the others do on average."""
    return float(seconds[-1] - seconds[0]) / max(1, len(seconds) - 1)


def _header(captions: Sequence[tuple[str, str]]) -> Pixels:
    """Write two lines over every tile, (HEADER, TILE * n, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(TILE * len(captions) / 100, HEADER / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for number, (name, caption) in enumerate(captions):
        label = partial(figure.text, (number + 0.5) / len(captions), ha="center", va="center", parse_math=False)
        label(0.66, _short(name), fontsize=9)
        label(0.28, _short(caption), fontsize=9, color=MUTED)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _bar(width: int, fraction: float) -> Pixels:
    """Draw the progress of the film."""
    bar = np.full((BAR, width, 3), 255, dtype=np.uint8)
    bar[:, : round(width * fraction)] = (92, 99, 112)
    return bar


def _spread(count: int) -> list[int]:
    """Choose the frames of `count` that the filmstrip shows."""
    return [int(i) for i in np.linspace(0, count - 1, min(count, COLUMNS)).round()]


def _groups(rows: Sequence[MapRow]) -> list[list[MapRow]]:
    """Group neighbouring rows that show the same frames."""
    return [list(group) for _, group in groupby(rows, lambda row: (row.seconds.tobytes(), row.map.pixels.tobytes()))]


TRIED = 8  # videos of a class, until one is predicted as the class that is looked for
STRIP_SIDE = 104  # pixels of a frame in a strip
QUALITY = 78  # of JPEG


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

    return np.asarray(Image.fromarray(frame).resize((STRIP_SIDE, STRIP_SIDE), Image.Resampling.BICUBIC))


def _uri(image: Pixels) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
