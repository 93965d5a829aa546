"""The report's sections about accuracy: training, accuracy against cost, classes, confusions, activation maps."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup

from autovid.report.filmstrip import STRIP_SIDE, Examples, find_examples
from autovid.report.markup import (
    SERIES,
    Bar,
    LegendEntry,
    Point,
    Series,
    bars,
    isolated,
    line_chart,
    scatter,
    section,
    thin,
)
from autovid.report.runs import Run
from autovid.train.trained import KIND as TRAINING

MOST_CLASSES = 24  # of which all are shown; of more, the best and the worst
WORST = 6  # confusions of a run
STRIPS = 4  # of a run, the hit among them
KINETICS = 400  # classes of the data set that the published figures are measured on
VIEWS = 30  # in which they are measured: 10-LeftCenterRight testing


class Published(NamedTuple):
    """A network as it was published: M parameters, GFLOPs of 30 views, top-1 in percent."""

    name: str
    params: float
    gflops: float
    top1: float


# Kinetics-400: "Searching for Two-Stream Models in Multivariate Space for Video Recognition", Gong et al., 2021,
# arXiv:2108.12957, Table 4.
PUBLISHED = (
    Published("X3D-S", 3.8, 81, 73.3),
    Published("Auto-TSNet-S†", 7.7, 84, 74.6),
    Published("Auto-TSNet-S", 8.6, 102, 75.4),
    Published("X3D-M", 3.8, 186, 76.0),
    Published("Auto-TSNet-M†", 7.7, 156, 76.6),
    Published("Auto-TSNet-M", 8.6, 183, 77.3),
    Published("X3D-L", 6.1, 744, 77.5),
    Published("Auto-TSNet-L†", 12.2, 543, 78.3),
    Published("Auto-TSNet-L", 13.2, 597, 78.9),
)


def accuracy(runs: Sequence[Run]) -> Markup | None:
    """Draw training curves, and top-1 against GFLOPs beside random and published networks."""
    shown = [*curves(runs), *_trade_off(runs), *_ranks(runs)]
    return section("grid", parts=shown, kind=" charts") if shown else None


def curves(runs: Sequence[Run]) -> list[Markup]:
    """Draw loss and accuracy of trainings over their steps."""
    charts = [
        _training(runs, "Training loss", "loss", None),
        _training(runs, "Top-1 of the training's batches, %", "top1", 0.0),
        _training(runs, "Top-1 on val while training, %", "val_top1", 0.0),
        _training(runs, "mAP on val while training, %", "val_map", 0.0),
    ]
    return [chart for chart in charts if chart]


def _training(runs: Sequence[Run], title: str, key: str, low: float | None) -> Markup | None:
    series: list[Series] = []
    for run in runs:
        points = [(float(r["step"]), float(r[key])) for r in run.records if r.get(key) is not None]
        if run.kind == TRAINING and len(points) > 1:
            series.append(Series(run.name, thin(points, 80), len(series)))
    return line_chart(title, series, low=low) if series else None


def _trade_off(runs: Sequence[Run]) -> list[Markup]:
    """Draw top-1 against cost: published networks among the runs on Kinetics-400, else in a chart of their own."""
    points, legend = _measured(runs)
    if not points:
        return []
    metrics = " or ".join(sorted({run.best[1].metric for run in runs if run.best} or {"top-1"}, reverse=True))
    title = f"{'Top' + metrics[3:] if metrics.startswith('top') else metrics} against cost"
    draw = partial(scatter, title, x="GFLOPs of a view, at its own input", y=f"{metrics}, %")
    sizes = {len(run.best[1].of_classes) for run in runs if run.best}
    if sizes == {KINETICS} and all("kinetics" in run.data.lower() for run in runs):
        legend = [*legend, LegendEntry("published, 30 views", "mute", "ring")]
        return [draw(points + _published_points(), legend)]
    name = "published figures, not run here: Kinetics-400, 30 views († without attention)"
    published = scatter(
        "Published, for orientation",
        _published_points(label=True),
        [LegendEntry(name, "mute", "ring")],
        x="GFLOPs of a view",
        y="top-1, % of Kinetics-400",
    )
    return [draw(points, legend), published]


def _measured(runs: Sequence[Run]) -> tuple[list[Point], list[LegendEntry]]:
    """Return the runs' own points; all in the centre view where they were not evaluated in the same views.

    Other views may have another crop, and one network then has two costs. A random baseline has the centre view alone.
    """
    points: list[Point] = []
    legend: list[LegendEntry] = []
    number = 0  # of runs with points
    centre = any(run.baseline for run in runs) or len({run.best[1].views for run in runs if run.best}) > 1
    lengths = {run.epochs for run in runs if run.best or run.baseline} - {None}
    for run in runs:
        colour = SERIES[number % len(SERIES)]
        finished = [(row, row.top1) for row in run.baseline if row.top1 is not None]
        for row, top1 in finished:
            title = f"{run.name}: {row.kind} {row.hash}, {top1:.2f} %, {row.gflops:.4g} GFLOPs"
            points.append(Point(row.gflops, top1, title, colour, "star" if row.kind == "searched" else "dot"))
        shown = [one for _, one in run.evaluations if one.views == "center"] if centre else []
        for one in shown or ([run.best[1]] if run.best else []):
            size, name = f"{one.frames} × {one.crop}²", "mAP " * (one.mean_ap is not None)
            title = f"{run.name}: {name}{one.score:.2f} %, {one.gflops_per_view:.4g} GFLOPs, {one.views}, {size}"
            points.append(Point(one.gflops_per_view, one.score, title, colour, "diamond"))
        number += bool(finished or run.best)
        kinds, name = {row.kind for row, _ in finished}, isolated(run.name)
        name += f", {run.epochs:g} epochs" if len(lengths) > 1 and run.epochs is not None else ""
        legend += [LegendEntry(name + ": random", colour, "dot")] * ("random" in kinds)
        legend += [LegendEntry(name + ": the searched one", colour, "star")] * ("searched" in kinds)
        if run.best:
            weights = "the supernet's weights" if run.best[1].recalibrated else "trained"
            legend.append(LegendEntry(name + f": {weights}", colour, "diamond"))
    return points, legend


def _published_points(label: bool = False) -> list[Point]:
    points = []
    for one in PUBLISHED:
        title = f"published: {one.name}, {one.top1} %, {one.gflops:g} GFLOPs in {VIEWS} views, {one.params} M"
        points.append(Point(one.gflops / VIEWS, one.top1, title, "mute", "ring", one.name if label else ""))
    return points


def _ranks(runs: Sequence[Run]) -> list[Markup]:
    """Draw accuracy in the supernet against that of trainings, with batch norm recalibrated and not."""
    charts = []
    for run in runs:
        points = []
        for arch in run.ranking.architectures if run.ranking else []:
            for colour, mark, top1 in ("mute", "ring", arch.supernet), ("a", "dot", arch.recalibrated):
                if arch.alone is not None:
                    title = f"{arch.hash}: {top1:.2f} % in the supernet, {arch.alone:.2f} % trained from scratch"
                    points.append(Point(top1, arch.alone, title, colour, mark))
        if points:
            legend = [LegendEntry("as the search left it", "mute", "ring")]
            legend += [LegendEntry("batch norm recalibrated", "a", "dot")]
            title = f"{run.name}: does the supernet rank as trainings do?"
            y = "top-1 when trained from scratch, %"
            charts.append(scatter(title, points, legend, x="top-1 in the supernet, %", y=y, log=False))
    return charts


def classes(runs: Sequence[Run]) -> Markup | None:
    """Draw top-1 of each class, best first; of many classes the ends of that list."""
    charts = []
    for run in runs:
        of_classes = run.best[1].of_classes if run.best else {}
        top1 = {name: v for name, v in of_classes.items() if v is not None}
        missing = sum(v is None for v in of_classes.values())
        metric = "average precision" if run.best and run.best[1].mean_ap is not None else "top-1"
        rows = [Bar(name, v, f"{name}: {v:.1f} %") for name, v in sorted(top1.items(), key=lambda item: -item[1])]
        half = MOST_CLASSES // 2
        if len(rows) > MOST_CLASSES:
            charts.append(bars(f"{run.name}: the {half} best of {len(rows)} classes", rows[:half]))
            charts.append(bars(f"{run.name}: the {half} worst", rows[-half:], "b"))
        elif rows:
            gap = f"; {missing} have no videos in val" * (missing > 0)
            charts.append(bars(f"{run.name}: {metric} of {len(rows)} classes{gap}", rows))
    return section("grid", parts=charts, kind=" charts") if charts else None


class Videos:
    """Frames of videos, for those runs whose data is still on this machine; read once."""

    def __init__(self, runs: Sequence[Run], notice: Callable[[str], None]) -> None:
        self._worst = {run.name: worst for run in runs if (worst := run.confusions()[:WORST])}
        self._examples: dict[str, Examples] = {}
        for run in runs:
            if run.kind == TRAINING and run.best:
                examples = find_examples(run, self._worst.get(run.name, []))
                self._examples[run.name] = examples
                if examples.reason:
                    notice(examples.reason)

    def confusions(self, runs: Sequence[Run]) -> Markup | None:
        """List the worst confusions of each run, with a frame where there is a video."""
        parts = []
        for name, worst in self._worst.items():
            examples = self._examples[name].confusions if name in self._examples else {}
            parts.append({"name": name, "confusions": worst, "examples": examples})
        return section("confusions", runs=parts) if parts else None

    def strips(self, runs: Sequence[Run]) -> Markup | None:
        """Show filmstrips: frames above, the evidence for the predicted class below."""
        parts = []
        for name, examples in self._examples.items():
            shown = [*examples.hits, *examples.confusions.values()][:STRIPS]
            parts += [{"name": name, "examples": shown}] if shown else []
        return section("strips", runs=parts, side=STRIP_SIDE) if parts else None
