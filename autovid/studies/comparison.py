"""The result of a random baseline: a table for people and one for machines, and the plot."""

import csv
import io
import statistics
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from autovid.costs import Cost, Macs, convention
from autovid.fileio import png_bytes
from autovid.run import write_atomic
from autovid.search import Constraint
from autovid.solver import CostRange
from autovid.space.schema import Reference
from autovid.train.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIRST, SECOND, MUTED = "#3b6ea5", "#d1495b", "#5c6370"


class Entry(msgspec.Struct, frozen=True):
    """One architecture. Accuracies in percent; None where the training diverged (top-5 also with five classes)."""

    kind: str  # the strategy that drew it, or "searched"
    hash: str
    macs: int  # at the space's reference input
    params: int | None  # of the network as trained: its last layer has the classes of the data
    top1: float | None
    top5: float | None
    others: dict[str, int | None] = {}  # further costs in atoms, by name; None where a table lacks its blocks

    def cost(self, cost: Cost) -> int | None:
        """Return a cost in atoms; None where it is not known."""
        return self.macs if cost == Macs() else self.others.get(cost.name)


@dataclass
class Comparison:
    """Architectures inside some ranges trained by one recipe; `entries` grows to `n` random ones.

    `macs` is the range of MACs, that of the architectures themselves where no other was asked for.
    """

    space: str
    constraints: tuple[Constraint, ...]
    macs: CostRange
    reference: Reference  # the input at which FLOPs count
    data: str
    classes: int  # of the data
    recipe: Recipe
    n: int
    strategy: str = "random"  # by which they were drawn
    entries: list[Entry] = field(default_factory=list)

    @property
    def others(self) -> list[Cost]:
        """The costs with a range beside MACs and parameters, which always have a column."""
        return [c.cost for c in self.constraints if c.cost.name not in ("macs", "params")]

    def accuracies(self, kind: str) -> list[tuple[float, float, str]]:
        """(GFLOPs, top-1, hash) of those that have an accuracy."""
        return [(e.macs / 1e9, e.top1, e.hash) for e in self.entries if e.kind == kind and e.top1 is not None]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text, the best first."""
        ranked = sorted(self.entries, key=lambda entry: -1.0 if entry.top1 is None else entry.top1, reverse=True)
        return [
            (e.hash, e.kind, f"{e.macs / 1e9:.4f}",
             *(_number(e.cost(c), 1 / c.quantity.atoms, "-") for c in self.others), _number(e.params, 1e-6, "-"),
             _number(e.top1, 1, "diverged"), _number(e.top5, 1, "-"))
            for e in ranked
        ]  # fmt: skip

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns of `rows`."""
        others = [f"{cost.quantity.what} ({cost.quantity.unit})" for cost in self.others]
        return ("architecture", "kind", "GFLOPs", *others, "params (M)", "top-1 (%)", "top-5 (%)")

    def summary(self) -> str:
        """ "16 random architectures: top-1 41.3 % (s.d. 2.0), best 44.8 %; searched 46.1 %"."""
        random = [top1 for _, top1, _ in self.accuracies(self.strategy)]
        text = f"{len(random)} of {self.n} {self.strategy} architectures"
        if random:
            spread = f" (s.d. {statistics.stdev(random):.1f})" if len(random) > 1 else ""
            text += f": top-1 {statistics.mean(random):.1f} %{spread}, best {max(random):.1f} %"
        searched = self.accuracies("searched")
        aside = " (outside the range)" if self.note() else ""
        return text + (f"; searched {searched[0][1]:.1f} %{aside}" if searched else "")

    def note(self) -> str:
        """Return a note on a searched architecture that lies outside a range; else empty."""
        ranges = {c.cost: c.whole for c in self.constraints if c.whole is not None}
        ranges.setdefault(Macs(), self.macs)
        searched = [entry for entry in self.entries if entry.kind == "searched"]
        notes = [outside_note(cost, e.cost(cost), ends) for e in searched for cost, ends in ranges.items()]
        return " ".join(filter(None, notes))

    def about(self) -> str:
        """Return the conditions under which the figures hold."""
        recipe = self.recipe
        return (
            f"space {self.space}, {self.within()}; trained for {recipe.length} on {self.data} at {recipe.frames} "
            f"frames of {recipe.crop}x{recipe.crop}; accuracy on val, centre view"
        )

    def within(self) -> str:
        """Return the ranges, with that of the MACs first where none was asked for."""
        texts = [text for constraint in self.constraints for text in constraint.spoken()]
        if all(c.cost != Macs() for c in self.constraints):
            texts = [Macs.quantity.say(*self.macs), *texts]
        return ", ".join(texts)

    def conventions(self) -> str:
        """Return the meaning of FLOPs, parameters and other costs here, a line each."""
        trained = f"of the networks as trained, with {self.classes} classes"
        others = [cost.convention(self.reference) for cost in self.others]
        return "\n".join([f"FLOPs: {convention(self.reference)}", f"parameters: {trained}", *others])


def outside_note(cost: Cost, value: int | None, ends: CostRange) -> str:
    """Return a note on a searched architecture beside random ones of another range; else empty."""
    if value is None or ends.low <= value <= ends.high:
        return ""
    low, high = ends
    away = f"{100 * (value / high - 1):.2g} % above" if value > high else f"{100 * (1 - value / low):.2g} % below"
    return (
        f"The searched architecture has {cost.quantity.text(value, digits=4)} {cost.quantity.unit}, {away} the range "
        f"of the random ones, {cost.quantity.say(low, high)}: it is not compared with its like."
    )


def _number(value: float | None, scale: float, missing: str) -> str:
    return missing if value is None else f"{value * scale:.2f}"


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Bring table.csv, table.md and plot.png in the folder `path` up to date."""
    write_atomic(path / "table.csv", _csv(comparison))
    write_atomic(path / "table.md", _markdown(comparison))
    write_atomic(path / "plot.png", comparison_png(comparison))


def _csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    conventions = comparison.conventions().replace("\n", "; ")
    costs = comparison.others
    names = [cost.metric for cost in costs]
    writer.writerow(["architecture", "kind", "macs", "gflops", *names, "params", "top1", "top5", "convention"])
    for e in comparison.entries:
        values = [None if (n := e.cost(cost)) is None else n / cost.quantity.atoms for cost in costs]
        writer.writerow([e.hash, e.kind, e.macs, e.macs / 1e9, *values, e.params, e.top1, e.top5, conventions])
    return text.getvalue()


def _markdown(comparison: Comparison) -> str:
    names = comparison.columns()
    lines = [names, tuple("---:" if i > 1 else "---" for i in range(len(names))), *comparison.rows()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    note = f"{comparison.note()}\n\n" if comparison.note() else ""
    told = comparison.conventions().replace("\n", ".\n")
    return f"{comparison.summary()}.\n\n{note}{table}\n\n{comparison.about()}.\n{told}.\n"


def comparison_png(comparison: Comparison) -> bytes:
    """Return the plot as a PNG of 1400 x 900 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=200, layout="constrained")
    axes = new_axes(figure)
    _draw_axes(axes, comparison)
    _draw_random(axes, comparison)
    _draw_searched(axes, comparison)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(textwrap.fill(comparison.summary(), 80), fontsize=10)
    return png_bytes(figure)


def new_axes(figure: "Figure") -> "Axes":
    """Add axes with a grid to a figure."""
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _draw_axes(axes: "Axes", comparison: Comparison) -> None:
    from matplotlib.ticker import MaxNLocator

    at = comparison.reference
    axes.set_title(
        textwrap.fill(comparison.about(), 125), fontsize=6, color=MUTED, parse_math=False
    )  # names may hold dollar signs
    axes.set_xlabel(f"GFLOPs of one view (1e9 MACs, {at.frames} frames at {at.crop}x{at.crop}, {at.classes} classes)")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.04, y=0.15)
    axes.update_datalim([(end / 1e9, 0) for end in comparison.macs], updatey=False)


def _draw_random(axes: "Axes", comparison: Comparison) -> None:
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


def _draw_searched(axes: "Axes", comparison: Comparison) -> None:
    for point in comparison.accuracies("searched"):
        x, y, _ = point
        axes.scatter([x], [y], s=190, marker="*", color=SECOND, edgecolors="white", zorder=4, label="searched")
        best = max((top1 for _, top1, _ in comparison.accuracies(comparison.strategy)), default=y)
        _label(axes, comparison, point, f"searched {y:.1f} %", SECOND, under=y < best)


def _label(
    axes: "Axes", comparison: Comparison, point: tuple[float, float, str], text: str, colour: str, under: bool
) -> None:
    """Text above or under a point, turned inwards near the sides."""
    low, high = (end / 1e9 for end in comparison.macs)
    place = (point[0] - low) / (high - low) if high > low else 0.5
    side = "left" if place < 0.2 else "right" if place > 0.8 else "center"
    offset = {"left": -4, "right": 4, "center": 0}[side]
    axes.annotate(
        text, point[:2], (offset, -16 if under else 9), textcoords="offset points", ha=side, fontsize=8, color=colour
    )
