"""The picture of a timeline: the probabilities of the classes seen longest, over the segments."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autovid.errors import printable
from autovid.fileio import png_bytes
from autovid.run.progress import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from autovid.export.timeline import Timeline

# Okabe and Ito's colours, which colour-blind eyes tell apart too, without yellow, which is too light for lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
OTHERS, MUTED = "#b8bdc6", "#5c6370"
MOST_POINTS = 400  # of a line: with more, a class that comes and goes is a filled block
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)  # seconds
MOST_TICKS = 10
LETTERS = 34  # of a class's name


def timeline_png(timeline: "Timeline", about: str) -> bytes:
    """Return the picture as a PNG of 1600 x 640 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=160, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    colours = _colours(timeline)
    _draw_probabilities(upper, timeline, colours)
    _draw_segments(lower, timeline, colours)
    _draw_legend(figure, timeline, colours)
    upper.set_title(_short(Path(timeline.video).name, 80), loc="left", fontsize=11, weight="bold", parse_math=False)
    if (joined := _joined(timeline)) > 1:
        about += f"; drawn as means of {joined} windows"
    upper.set_title(printable(about), loc="right", fontsize=8, color=MUTED, parse_math=False)
    return png_bytes(figure)


def _colours(timeline: "Timeline") -> dict[int, str]:
    """Give a colour to each of the classes that segments show longest."""
    seconds: dict[int, float] = {}
    for segment in timeline.segments():
        seconds[segment.number] = seconds.get(segment.number, 0.0) + segment.end - segment.start
    longest = sorted(seconds, key=lambda index: -seconds[index])[: len(COLOURS)]
    return dict(zip(longest, COLOURS))


def _joined(timeline: "Timeline") -> int:
    """Return how many neighbouring windows are one point of a line, their mean."""
    return -(-len(timeline.windows) // MOST_POINTS)


def _draw_probabilities(axes: "Axes", timeline: "Timeline", colours: dict[int, str]) -> None:
    middles = np.array([(window.start + window.end) / 2 for window in timeline.windows])
    raw = np.stack([window.probabilities for window in timeline.windows])
    smoothed, joined = timeline.smoothed, _joined(timeline)
    places = np.arange(0, len(middles), joined)
    counts = np.diff(places, append=len(middles))
    holes = np.unique(-(-(np.flatnonzero(~timeline.near) + 1) // joined))  # the points behind them
    for index, colour in colours.items():
        if joined == 1:
            axes.plot(middles, 100 * raw[:, index], ".", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
        means = (np.add.reduceat(values, places) / counts for values in (middles, 100 * smoothed[:, index]))
        x, y = (np.insert(values, holes, np.nan) for values in means)
        axes.plot(x, y, color=colour, linewidth=1.4, marker="" if len(x) > 1 else "o")
    axes.set_ylim(-2, 102)
    axes.set_ylabel("probability (%)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _draw_segments(axes: "Axes", timeline: "Timeline", colours: dict[int, str]) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    segments = timeline.segments()
    start, end = segments[0].start, segments[-1].end
    for one in segments:
        axes.axvspan(one.start, one.end, color=colours.get(one.number, OTHERS), linewidth=0)
    for edge in (one.start for one in segments[1:] if len(segments) <= MOST_POINTS):
        axes.axvline(edge, color="white", linewidth=0.8)
    axes.set_xlim(start, end)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MultipleLocator(tick_step(end - start)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, end - start)))


def tick_step(span: float) -> float:
    """Return the seconds between two ticks: a round number on a clock, at most ten ticks in so many seconds."""
    return next((step for step in STEPS if span / step <= MOST_TICKS), span / MOST_TICKS)


def _clock(seconds: float, span: float) -> str:
    return f"{seconds:g} s" if span < 10 else duration(seconds)


def _draw_legend(figure: "Figure", timeline: "Timeline", colours: dict[int, str]) -> None:
    from matplotlib.lines import Line2D

    names = {_short(timeline.classes[index], LETTERS): colour for index, colour in colours.items()}
    if any(segment.number not in colours for segment in timeline.segments()):
        names["other classes"] = OTHERS
    handles = [Line2D([], [], color=colour, linewidth=5) for colour in names.values()]
    legend = figure.legend(handles, [*names], loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(text: str, most: int) -> str:
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"
