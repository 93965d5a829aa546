"""The plots of studies: of a random baseline, and of a front of architectures."""

import statistics
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autovid.fileio import png_bytes

if TYPE_CHECKING:
    from autovid.studies.comparison import Comparison
    from autovid.studies.front import Front

FIRST, SECOND, MUTED = "#3b6ea5", "#d1495b", "#5c6370"
LABELS = {"log_probability": "log-probability under the prior (nats)", "log_likelihood": "log-likelihood (nats)"}


def comparison_png(comparison: "Comparison") -> bytes:
    """Return the plot as a PNG of 1400 x 900 pixels."""
    figure = Figure(figsize=(7, 4.5), dpi=200, layout="constrained")
    axes = _new_axes(figure)
    _draw_axes(axes, comparison)
    _draw_random(axes, comparison)
    _draw_searched(axes, comparison)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(textwrap.fill(comparison.summary(), 80), fontsize=10)
    return png_bytes(figure)


def _new_axes(figure: Figure) -> Axes:
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _draw_axes(axes: Axes, comparison: "Comparison") -> None:
    at = comparison.reference
    axes.set_title(
        textwrap.fill(comparison.about(), 125), fontsize=6, color=MUTED, parse_math=False
    )  # names may hold dollar signs
    axes.set_xlabel(f"GFLOPs of one view (1e9 MACs, {at.frames} frames at {at.crop}x{at.crop}, {at.classes} classes)")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
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
        axes.axhspan(mean - spread, mean + spread, color=FIRST, alpha=0.12, linewidth=0, label="mean ± 1 s.d.")
    axes.axhline(mean, color=FIRST, linewidth=1, linestyle="--", label=f"mean of {comparison.strategy}, {mean:.1f} %")
    axes.scatter(x, y, s=34, color=FIRST, edgecolors="white", linewidths=0.6, zorder=3, label=comparison.strategy)
    best = max(points, key=lambda point: point[1])
    rivals = [top1 for _, top1, _ in comparison.accuracies("searched")]
    under = bool(rivals) and 0 <= rivals[0] - best[1] < 3  # else the two labels might lie on each other
    _label(axes, comparison, best, f"best of {comparison.strategy}, {best[1]:.1f} %", FIRST, under)


def _draw_searched(axes: Axes, comparison: "Comparison") -> None:
    for point in comparison.accuracies("searched"):
        x, y, _ = point
        axes.scatter([x], [y], s=190, marker="*", color=SECOND, edgecolors="white", zorder=4, label="searched")
        best = max((top1 for _, top1, _ in comparison.accuracies(comparison.strategy)), default=y)
        _label(axes, comparison, point, f"searched {y:.1f} %", SECOND, under=y < best)


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


def front_png(front: "Front", title: str, sentences: Sequence[str]) -> bytes:
    """Return the picture as a PNG of 1400 pixels across."""
    text = "\n".join(textwrap.fill(sentence, 118) for sentence in sentences)
    height = 4.2 + 0.15 * (text.count("\n") + 1)
    figure = Figure(figsize=(7, height), dpi=200, layout="constrained")
    axes = _new_axes(figure)
    _points(axes, front)
    axes.set_xlabel(f"{front.costs[0].quantity.what} ({front.costs[0].quantity.unit})", fontsize=9)
    axes.margins(x=0.05, y=0.15)
    axes.tick_params(labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="best")
    axes.set_title(title, fontsize=10, parse_math=False)  # a name may hold a $
    figure.supxlabel(text, fontsize=7, color=MUTED, x=0.02, ha="left", parse_math=False)
    return png_bytes(figure)


def _points(axes: Axes, front: "Front") -> None:
    cost = front.costs[0]
    x_of = [entry.costs[cost] / cost.quantity.atoms for entry in front.entries]
    style = "o-" if len(front.costs) == 1 else "o"
    alone = [(x, entry.alone) for x, entry in zip(x_of, front.entries) if entry.alone is not None]
    if alone:
        xs, ys = map(list, zip(*alone))
        axes.plot(xs, ys, "*", color=SECOND, markersize=11, label="trained from scratch", zorder=4)
    if front.accuracy:
        scored = [(x, entry.supernet) for x, entry in zip(x_of, front.entries) if entry.supernet is not None]
        xs, ys = map(list, zip(*scored))
        bars = [front.standard_error(top1) for top1 in ys]
        label = "with the supernet's weights"
        axes.errorbar(xs, ys, bars, fmt=style, color=FIRST, capsize=2, linewidth=1, elinewidth=0.8, label=label)
    if front.accuracy or alone:
        axes.set_ylabel("top-1 accuracy (%)", fontsize=9)
        if front.chance:
            axes.axhline(front.chance, color=MUTED, linewidth=1, linestyle="--", label="chance")
        return
    scores = [(x, entry.score) for x, entry in zip(x_of, front.entries) if entry.score is not None]
    if scores:
        axes.plot([x for x, _ in scores], [score for _, score in scores], style, color=FIRST, linewidth=1)
    axes.set_ylabel(LABELS[front.measure], fontsize=9)
