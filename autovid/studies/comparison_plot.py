"""The plot of a random baseline: accuracy against GFLOPs, the searched architecture marked."""

import io
import statistics
import textwrap
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from autovid.studies.comparison import Comparison


RANDOM, SEARCHED, MUTED = "#3b6ea5", "#d1495b", "#5c6370"


def comparison_png(comparison: "Comparison") -> bytes:
    """Return the plot as a PNG of 1400 x 900 pixels."""
    figure = Figure(figsize=(7, 4.5), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_axes(axes, comparison)
    _draw_random(axes, comparison)
    _draw_searched(axes, comparison)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(textwrap.fill(comparison.summary(), 80), fontsize=10)
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _draw_axes(axes: Axes, comparison: "Comparison") -> None:
    at = comparison.reference
    axes.set_title(
        textwrap.fill(comparison.about(), 125), fontsize=6, color=MUTED, parse_math=False
    )  # names may hold dollar signs
    axes.set_xlabel(f"GFLOPs of one view (1e9 MACs, {at.frames} frames at {at.crop}x{at.crop}, {at.classes} classes)")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.04, y=0.15)
    axes.update_datalim([(end / 1e9, 0) for end in comparison.macs], updatey=False)


def _draw_random(axes: Axes, comparison: "Comparison") -> None:
    points = comparison.accuracies(comparison.strategy)
    if not points:
        return
    x, y = [point[0] for point in points], [point[1] for point in points]
    mean = statistics.mean(y)
    if len(y) > 1:
        spread = statistics.stdev(y)
        axes.axhspan(mean - spread, mean + spread, color=RANDOM, alpha=0.12, linewidth=0, label="mean ± 1 s.d.")
    axes.axhline(mean, color=RANDOM, linewidth=1, linestyle="--", label=f"mean of {comparison.strategy}, {mean:.1f} %")
    axes.scatter(x, y, s=34, color=RANDOM, edgecolors="white", linewidths=0.6, zorder=3, label=comparison.strategy)
    best = max(points, key=lambda point: point[1])
    rivals = [top1 for _, top1, _ in comparison.accuracies("searched")]
    under = bool(rivals) and 0 <= rivals[0] - best[1] < 3  # else the two labels might lie on each other
    _label(axes, comparison, best, f"best of {comparison.strategy}, {best[1]:.1f} %", RANDOM, under)


def _draw_searched(axes: Axes, comparison: "Comparison") -> None:
    for point in comparison.accuracies("searched"):
        x, y, _ = point
        axes.scatter([x], [y], s=190, marker="*", color=SEARCHED, edgecolors="white", zorder=4, label="searched")
        best = max((top1 for _, top1, _ in comparison.accuracies(comparison.strategy)), default=y)
        _label(axes, comparison, point, f"searched {y:.1f} %", SEARCHED, under=y < best)


def _label(
    axes: Axes, comparison: "Comparison", point: tuple[float, float, str], text: str, colour: str, under: bool
) -> None:
    """Text above or under a point, turned inwards near the sides."""
    low, high = (end / 1e9 for end in comparison.macs)
    place = (point[0] - low) / (high - low) if high > low else 0.5
    side = "left" if place < 0.2 else "right" if place > 0.8 else "center"
    offset = {"left": -4, "right": 4, "center": 0}[side]
    axes.annotate(
        text, point[:2], (offset, -16 if under else 9), textcoords="offset points", ha=side, fontsize=8, color=colour
    )
