"""What a random baseline came to: a table for people and one for machines, and the plot."""

import csv
import io
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from autovid.costs import LatencyRange, convention
from autovid.run import write_atomic
from autovid.solver import GFLOPS, MILLISECONDS, CostRange
from autovid.solver.cost_range import Quantity
from autovid.space.schema import Reference
from autovid.train.recipe import Recipe

COLUMNS = ("architecture", "kind", "GFLOPs", "params (M)", "top-1 (%)", "top-5 (%)")


class Entry(msgspec.Struct, frozen=True):
    """One architecture. Accuracies in percent; None where the training diverged (top-5 also with five classes)."""

    kind: str  # "random" or "searched"
    hash: str
    macs: int  # at the space's reference input
    params: int | None  # of the network as trained: its last layer has the classes of the data
    top1: float | None
    top5: float | None
    latency: int | None = None  # nanoseconds, as predicted; None where there is no table, or none with its blocks


@dataclass
class Comparison:
    """Architectures of one FLOPs range trained by one recipe; `entries` grows to `n` random ones."""

    space: str
    flops: CostRange
    reference: Reference  # the input at which FLOPs count
    data: str
    classes: int  # of the data
    recipe: Recipe
    n: int
    entries: list[Entry] = field(default_factory=list)
    latency: LatencyRange | None = None  # that they were drawn from, if there was one

    def accuracies(self, kind: str) -> list[tuple[float, float, str]]:
        """(GFLOPs, top-1, hash) of those that have an accuracy."""
        return [(e.macs / 1e9, e.top1, e.hash) for e in self.entries if e.kind == kind and e.top1 is not None]

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, the best first."""
        ranked = sorted(self.entries, key=lambda entry: -1.0 if entry.top1 is None else entry.top1, reverse=True)
        return [
            (e.hash, e.kind, f"{e.macs / 1e9:.4f}", *([_number(e.latency, 1e-6, "-")] if self.latency else []),
             _number(e.params, 1e-6, "-"), _number(e.top1, 1, "diverged"), _number(e.top5, 1, "-"))
            for e in ranked
        ]  # fmt: skip

    def columns(self) -> tuple[str, ...]:
        """The names of what the rows hold."""
        return (*COLUMNS[:3], *(["latency (ms)"] if self.latency else []), *COLUMNS[3:])

    def summary(self) -> str:
        """ "16 random architectures: top-1 41.3 % (s.d. 2.0), best 44.8 %; searched 46.1 %"."""
        random = [top1 for _, top1, _ in self.accuracies("random")]
        text = f"{len(random)} of {self.n} random architectures"
        if random:
            spread = f" (s.d. {statistics.stdev(random):.1f})" if len(random) > 1 else ""
            text += f": top-1 {statistics.mean(random):.1f} %{spread}, best {max(random):.1f} %"
        searched = self.accuracies("searched")
        aside = " (outside the range)" if self.note() else ""
        return text + (f"; searched {searched[0][1]:.1f} %{aside}" if searched else "")

    def note(self) -> str:
        """What is to be said of a searched architecture that is not of the range; else empty."""
        searched = [e for e in self.entries if e.kind == "searched"]
        said = [outside_note(e.macs, self.flops) for e in searched]
        if self.latency:
            ends, says = self.latency.range, MILLISECONDS
            said += [outside_note(e.latency, ends, says) for e in searched if e.latency is not None]
        return " ".join(filter(None, said))

    def about(self) -> str:
        """Under what conditions the figures hold."""
        recipe, latency = self.recipe, self.latency
        within = f"{self.flops}, {latency}" if latency else f"{self.flops}"
        return (
            f"space {self.space}, {within}; trained for {recipe.length} on {self.data} at {recipe.frames} "
            f"frames of {recipe.crop}x{recipe.crop}; accuracy on val, centre view"
        )

    def conventions(self) -> str:
        """What FLOPs, parameters and latency mean here, a line each."""
        trained = f"of the networks as trained, with {self.classes} classes"
        latency = f"\nlatency: predicted for {self.latency.file.about()}" if self.latency else ""
        return f"FLOPs: {convention(self.reference)}\nparameters: {trained}{latency}"


def outside_note(cost: int, wanted: CostRange, quantity: Quantity = GFLOPS) -> str:
    """What is to be said of a searched architecture of this cost beside random ones of another range; else empty."""
    low, high = wanted
    if low <= cost <= high:
        return ""
    away = f"{100 * (cost / high - 1):.2g} % above" if cost > high else f"{100 * (1 - cost / low):.2g} % below"
    return (
        f"The searched architecture has {quantity.text(cost, digits=4)} {quantity.name}, {away} the range of the "
        f"random ones, {quantity.say(low, high)}: it is not compared with its like."
    )


def _number(value: float | None, scale: float, missing: str) -> str:
    return missing if value is None else f"{value * scale:.2f}"


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Brings table.csv, table.md and plot.png in the folder `path` up to date."""
    from autovid.studies.comparison_plot import comparison_png

    write_atomic(path / "table.csv", _csv(comparison))
    write_atomic(path / "table.md", _markdown(comparison))
    write_atomic(path / "plot.png", comparison_png(comparison))


def _csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    conventions = comparison.conventions().replace("\n", "; ")
    timed = ["latency_ms"] if comparison.latency else []
    writer.writerow(["architecture", "kind", "macs", "gflops", *timed, "params", "top1", "top5", "convention"])
    for e in comparison.entries:
        latency = [None if e.latency is None else e.latency / 1e6 for _ in timed]
        writer.writerow([e.hash, e.kind, e.macs, e.macs / 1e9, *latency, e.params, e.top1, e.top5, conventions])
    return text.getvalue()


def _markdown(comparison: Comparison) -> str:
    names = comparison.columns()
    lines = [names, tuple("---:" if i > 1 else "---" for i in range(len(names))), *comparison.rows()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    note = f"{comparison.note()}\n\n" if comparison.note() else ""
    told = comparison.conventions().replace("\n", ".\n")
    return f"{comparison.summary()}.\n\n{note}{table}\n\n{comparison.about()}.\n{told}.\n"
