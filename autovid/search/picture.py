"""A search as pictures: the prior, dark where it is probable, and the way that the whole search has gone."""

import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autovid.costs import Cost, Macs
from autovid.search.derivation import Searched
from autovid.search.problem import Problem
from autovid.search.settings import SearchSettings
from autovid.solver import UNLIMITED, CostRange
from autovid.space import Architecture
from autovid.space.schema import JOINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, GREY, BAND, PALE, DARK = "#2b6cb0", "#718096", "#68d391", "#a3c4e8", "#1a365d"
NARROW = 0.09  # of all steps: above a shorter part there is no room for its name


def probability_image(problem: Problem, log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the probabilities of all candidates of a part's space as an image, uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(problem.space.decisions[d], np.exp(log_probs[d])) for d in problem.searched]
    widest = max((len(p) for _, p in rows), default=1)
    figure = Figure(figsize=(4.5 + 0.9 * widest, 0.8 + 0.2 * max(1, len(rows))), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    cells = np.full((max(1, len(rows)), widest), np.nan)
    for row, (decision, probabilities) in enumerate(rows):
        cells[row, : len(probabilities)] = probabilities
        for column, value in enumerate(decision.candidates):
            shade = "white" if probabilities[column] > 0.5 else "black"
            axes.text(column, row, str(value), ha="center", va="center", fontsize=6, color=shade)
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), [decision.name for decision, _ in rows], fontsize=6)
    axes.set_xticks([])
    axes.set_title("prior probability of each candidate", fontsize=8)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]


def search_curve(metrics: Path, searched: Searched, arch: Architecture) -> bytes:
    """Draw the whole search as a PNG: expected costs against each part's ranges, P(in range), entropy, loss over steps.

    `arch` is the architecture that it has found. A panel for the MACs and for each cost with a range; of a strategy
    without a prior the scores and the loss alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    space, settings = searched.space, searched.settings
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    ranges: dict[Cost, Mapping[str, CostRange | None]] = {Macs(): {}}
    ranges |= {one.cost: {**one.parts, JOINT: one.final(space)} for one in searched.constraints}
    prior = bool(searched.learned)
    panels = _panels([*[cost.name for cost in ranges], "inside", "entropy"] if prior else ["scores"])
    figure = Figure(figsize=(9, 1 + 2.2 * len(panels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic(panels, sharex=True)
    texts = [f"{cost.of(arch) / cost.quantity.atoms:.4g} {cost.quantity.unit}" for cost in ranges]
    for cost, parts in ranges.items() if prior else ():
        title = f"expected {cost.quantity.what} of the prior ({cost.quantity.unit})"
        _curve(axes[cost.name], title, records, f"expected_{cost.metric}", BLUE)
        _against(axes[cost.name], [parts.get(part.name) for part in settings.parts], cost, settings, cost.of(arch))
    if prior:
        inside = "P(in all ranges)" if len(searched.constraints) > 1 else "P(in range)"
        _curve(axes["inside"], inside, records, "p_in_range", BLUE)
        axes["inside"].set_ylim(0, 1)
        _curve(axes["entropy"], "entropy of the prior (nats)", records, "entropy", BLUE)
    else:
        title = "log-likelihood of architectures: best (blue), mean (grey)"
        _curve(axes["scores"], title, records, "best_log_likelihood", BLUE)
        _curve(axes["scores"], "", records, "mean_log_likelihood", GREY)
    _curve(axes["loss"], "loss: the weights' clips (pale), held-out clips (dark)", records, "loss", PALE)
    _curve(axes["loss"], "", records, "held_out_loss", DARK)
    for panel in axes.values():
        _mark_parts(panel, settings)
    proxy = " (proxy)" if settings.proxy else ""
    figure.suptitle(f"search of {space.name}{proxy}: {', '.join(texts)} found", fontsize=11)
    told = [cost.convention(space.reference) for cost in ranges]
    figure.supxlabel("\n".join(textwrap.fill(text, 130) for text in told), fontsize=6, color=GREY, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panels(others: Sequence[str]) -> Any:
    """Return panels, the loss the last, two in a row; the last one is as wide as both where it is alone."""
    names = [*others, "loss"]
    rows = [names[i : i + 2] for i in range(0, len(names), 2)]
    return [row if len(row) == 2 else row * 2 for row in rows]


def _curve(axes: "Axes", title: str, records: list[dict[str, Any]], key: str, color: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for part in sorted({record["part"] for record in records}):  # a line of its own for each part
        points = [(r["step"], r[key]) for r in records if r["part"] == part and r.get(key) is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], color=color, linewidth=1.4)
    if title:
        axes.set_title(title, fontsize=9, loc="left", pad=14)  # the parts' names stand below it
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step", fontsize=8)


def _against(axes: "Axes", ranges: Sequence[CostRange | None], cost: Cost, settings: SearchSettings, end: int) -> None:
    """Draw the parts' ranges behind an expected cost, and the cost of the architecture that was found."""
    unit, (bottom, top) = cost.quantity.atoms, axes.get_ylim()
    for number, (part, ends) in enumerate(zip(settings.parts, ranges)):
        if ends is not None:
            x = [settings.end(number) - part.length, settings.end(number)]
            label = "range at the end of the part" if number == 0 else None
            low = ends.low / unit if ends.low else bottom
            high = ends.high / unit if ends.high != UNLIMITED else top
            axes.fill_between(x, low, high, color=BAND, alpha=0.5, linewidth=0, label=label)
    axes.margins(y=0.15)  # room for a word above what was found
    last = settings.end(len(settings.parts) - 1) - 1
    axes.plot([last], [end / unit], "o", color="black", zorder=5)
    axes.annotate("found", (last, end / unit), (-6, 8), textcoords="offset points", ha="right", fontsize=8)
    if axes.get_legend_handles_labels()[0]:  # a search without a range has nothing to name
        axes.legend(loc="best", fontsize=7, frameon=False)


def _mark_parts(axes: "Axes", settings: SearchSettings) -> None:
    """Write names of the parts above the axes, and draw a line where one ends; grey where a part warms up."""
    for number, part in enumerate(settings.parts):
        end = settings.end(number)
        start = end - part.length
        if number:
            axes.axvline(start - 0.5, color=GREY, linewidth=0.7, linestyle=":")
        if part.warmup:
            axes.axvspan(start - 0.5, start + part.warmup - 0.5, color="#edf2f7", zorder=0, linewidth=0)
        if part.length < NARROW * settings.steps:
            continue  # its name would lie over the next
        axes.text(start, 1.01, part.name, transform=axes.get_xaxis_transform(), fontsize=7, color=GREY, va="bottom")
