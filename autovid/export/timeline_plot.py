"""The picture of a timeline: the probabilities of the classes seen longest, over the segments."""

from pathlib import Path
from typing import TYPE_CHECKING

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
MOST_DOTS = 400  # of windows before smoothing: more are a grey cloud
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
    upper.set_title(printable(about), loc="right", fontsize=8, color=MUTED, parse_math=False)
    return png_bytes(figure)


def _colours(timeline: "Timeline") -> dict[int, str]:
    """Give a colour to each of the classes that segments show longest."""
    seconds: dict[int, float] = {}
    for segment in timeline.segments():
        seconds[segment.number] = seconds.get(segment.number, 0.0) + segment.end - segment.start
    longest = sorted(seconds, key=lambda index: -seconds[index])[: len(COLOURS)]
    return dict(zip(longest, COLOURS))


def _draw_probabilities(axes: "Axes", timeline: "Timeline", colours: dict[int, str]) -> None:
    middles = [(window.start + window.end) / 2 for window in timeline.windows]
    smoothed = timeline.smoothed
    for index, colour in colours.items():
        raw = [100 * window.probabilities[index] for window in timeline.windows]
        if len(raw) <= MOST_DOTS:
            axes.plot(middles, raw, ".", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
        marker = "" if len(raw) > 1 else "o"
        axes.plot(middles, 100 * smoothed[:, index], color=colour, linewidth=1.4, marker=marker)
    axes.set_ylim(-2, 102)
    axes.set_ylabel("probability (%)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _draw_segments(axes: "Axes", timeline: "Timeline", colours: dict[int, str]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    segments = timeline.segments()
    start, end = segments[0].start, segments[-1].end
    for one in segments:
        axes.axvspan(one.start, one.end, color=colours.get(one.number, OTHERS), linewidth=0)
    for edge in (one.start for one in segments[1:] if len(segments) <= MOST_DOTS):
        axes.axvline(edge, color="white", linewidth=0.8)
    axes.set_xlim(start, end)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 2, 3, 6, 10], min_n_ticks=3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, end - start)))


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
