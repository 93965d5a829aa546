"""The picture of a front: accuracy against cost, or the search's own score where nothing was evaluated."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autovid.fileio import png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autovid.studies.front import Front

SUPERNET, TRAINED, MUTED = "#3b6ea5", "#d1495b", "#5c6370"
LABELS = {"log_probability": "log-probability under the prior (nats)", "log_likelihood": "log-likelihood (nats)"}


def front_png(front: "Front", title: str, sentences: Sequence[str]) -> bytes:
    """Return the picture as a PNG of 1400 pixels across."""
    from matplotlib.figure import Figure

    text = "\n".join(textwrap.fill(sentence, 118) for sentence in sentences)
    height = 4.2 + 0.15 * (text.count("\n") + 1)
    figure = Figure(figsize=(7, height), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    _points(axes, front)
    axes.set_xlabel(f"{front.costs[0].quantity.what} ({front.costs[0].quantity.unit})", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.05, y=0.15)
    axes.tick_params(labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="best")
    axes.set_title(title, fontsize=10, parse_math=False)  # a name may hold a $
    figure.supxlabel(text, fontsize=7, color=MUTED, x=0.02, ha="left", parse_math=False)
    return png_bytes(figure)


def _points(axes: "Axes", front: "Front") -> None:
    cost = front.costs[0]
    x_of = [entry.costs[cost] / cost.quantity.atoms for entry in front.entries]
    style = "o-" if len(front.costs) == 1 else "o"
    alone = [(x, entry.alone) for x, entry in zip(x_of, front.entries) if entry.alone is not None]
    if alone:
        xs, ys = map(list, zip(*alone))
        axes.plot(xs, ys, "*", color=TRAINED, markersize=11, label="trained from scratch", zorder=4)
    if front.accuracy:
        scored = [(x, entry.supernet) for x, entry in zip(x_of, front.entries) if entry.supernet is not None]
        xs, ys = map(list, zip(*scored))
        bars = [front.standard_error(top1) for top1 in ys]
        label = "with the supernet's weights"
        axes.errorbar(xs, ys, bars, fmt=style, color=SUPERNET, capsize=2, linewidth=1, elinewidth=0.8, label=label)
    if front.accuracy or alone:
        axes.set_ylabel("top-1 accuracy (%)", fontsize=9)
        if front.chance:
            axes.axhline(front.chance, color=MUTED, linewidth=1, linestyle="--", label="chance")
        return
    scores = [(x, entry.score) for x, entry in zip(x_of, front.entries) if entry.score is not None]
    if scores:
        axes.plot([x for x, _ in scores], [score for _, score in scores], style, color=SUPERNET, linewidth=1)
    axes.set_ylabel(LABELS[front.measure], fontsize=9)
