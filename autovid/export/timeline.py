"""The timeline of a video: smoothed probabilities of its windows, as a table, subtitles and a picture.

A single window errs more often than what it shows changes. So each is averaged with its two neighbours, which count
half as much (weights 1, 2, 1), and neighbours of one class become a segment.

    DIR/
      VIDEO.timeline.csv  a line for each window: start, end, class, its probability, and that of every class
      VIDEO.timeline.srt  a subtitle for each segment
      VIDEO.timeline.png  the probabilities of the classes seen longest, and the segments
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.data.lists import csv_text
from autovid.errors import ConfigError, printable
from autovid.export.prediction import DECIMALS, ScoredWindow
from autovid.fileio import explained, write_atomic

WINDOW = 2.0  # seconds, where none are given
MOST_BYTES = 200  # of a name before its ending; disks have 255
GAP = 1e-6  # seconds between two windows that make them no neighbours


class Segment(NamedTuple):
    """Neighbouring windows of class `number`, from `start` to `end` (seconds), and its mean smoothed probability."""

    start: float
    end: float
    number: int
    probability: float


@dataclass(frozen=True)
class Timeline:
    """The windows of a video in order, at least one, and the names of the classes."""

    video: str
    windows: Sequence[ScoredWindow]
    classes: Sequence[str]

    @property
    def near(self) -> NDArray[np.bool_]:
        """(windows - 1,): True where a window begins at the end of the one before, False at a hole."""
        pairs = zip(self.windows, self.windows[1:])
        return np.array([after.start - before.end < GAP for before, after in pairs], dtype=np.bool_)

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """(windows, classes): the probabilities of each window, averaged with its neighbours."""
        raw = np.stack([window.probabilities for window in self.windows]).astype(np.float64)
        total, weight = 2 * raw, np.full(len(raw), 2.0)
        near = self.near
        for place, neighbour in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            total[place] += raw[neighbour] * near[:, None]
            weight[place] += near
        smoothed: NDArray[np.float64] = total / weight[:, None]
        return smoothed

    def segments(self) -> list[Segment]:
        """Return the neighbouring windows of one class, as one each."""
        smoothed = self.smoothed
        best = smoothed.argmax(1).tolist()
        groups: list[list[int]] = []
        for number, window in enumerate(self.windows):
            before = number - 1
            if number and best[number] == best[before] and window.start - self.windows[before].end < GAP:
                groups[-1].append(number)
            else:
                groups.append([number])
        return [
            Segment(
                self.windows[group[0]].start,
                self.windows[group[-1]].end,
                best[group[0]],
                float(smoothed[group, best[group[0]]].mean()),
            )
            for group in groups
        ]

    def csv(self) -> str:
        """Return the table."""
        rows: list[list[object]] = [["start", "end", "class", "probability", *self.classes]]
        for window, values in zip(self.windows, self.smoothed):
            best = int(values.argmax())
            times = [round(window.start, DECIMALS), round(window.end, DECIMALS)]
            rows.append([*times, self.classes[best], f"{values[best]:.4f}", *(f"{value:.4f}" for value in values)])
        return csv_text(rows)

    def srt(self) -> str:
        """Return the subtitles, as SubRip has them."""
        blocks = []
        for count, (start, end, number, probability) in enumerate(self.segments(), 1):
            text = f"{printable(self.classes[number])} ({100 * probability:.0f} %)"
            blocks.append(f"{count}\n{_stamp(start)} --> {_stamp(end)}\n{text}\n")
        return "\n".join(blocks)


def check_names(videos: Sequence[Path]) -> None:
    """Raise ConfigError where two videos would have timelines of one name."""
    names = [_stem(video).lower() for video in videos]
    if double := next((video for video, name in zip(videos, names) if names.count(name) > 1), None):
        raise ConfigError(f"several videos are called {_stem(double)}; give each a --timeline folder of its own")


def _stem(video: Path) -> str:
    """Return the name of a video without its ending, cut where the names of the files would be too long for a disk."""
    name = os.fsencode(video.stem)
    return video.stem if len(name) <= MOST_BYTES else name[:MOST_BYTES].decode(errors="ignore")


def make_folder(folder: Path) -> None:
    """Make the folder of timelines. Raises RunError where that cannot be."""
    with explained(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


def write_timeline(folder: Path, timeline: Timeline, about: str) -> list[Path]:
    """Write the table, the subtitles and the picture into `folder`, and return their places.

    `about` stands under the title of the picture. Raises RunError where they cannot be written.
    """
    from autovid.export.timeline_plot import timeline_png

    make_folder(folder)
    stem = _stem(Path(timeline.video))
    places = [folder / f"{stem}.timeline.{suffix}" for suffix in ("png", "csv", "srt")]
    contents: tuple[bytes | str, ...] = (timeline_png(timeline, about), timeline.csv(), timeline.srt())
    for place, content in zip(places, contents):
        write_atomic(place, content)
    return places


def _stamp(seconds: float) -> str:
    """Write 00:01:02,345."""
    minutes, rest = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d},{rest % 1000:03d}"
