"""The report's sections about accuracy: training, cost against accuracy, classes, confusions, what is looked at."""

from collections.abc import Callable, Sequence

from autovid.report import published
from autovid.report.charts import Key, Point, Series, bars, line_chart, scatter, thin
from autovid.report.examples import SIDE, Look, look
from autovid.report.markup import SERIES, Markup, escape, isolated, join, tag
from autovid.report.runs import Confusion, Run
from autovid.train.evaluate import Evaluation
from autovid.train.trained import KIND as TRAINING

MOST_CLASSES = 24  # of which all are shown; of more, the best and the worst
WORST = 6  # confusions of a run
STRIPS = 4  # of a run, the hit among them
KINETICS = 400  # classes: what the published figures are of


def accuracy(runs: Sequence[Run]) -> Markup | None:
    """Training curves, and top-1 against GFLOPs beside random and published networks."""
    charts = [chart for make in (_loss, _top1, _trade_off, _published, _ranks) if (chart := make(runs))]
    return tag("div", *charts, class_="grid charts") if charts else None


def _loss(runs: Sequence[Run]) -> Markup | None:
    return _training(runs, "Training loss", "loss", None)


def _top1(runs: Sequence[Run]) -> Markup | None:
    return _training(runs, "Top-1 of the training's batches, %", "top1", 0.0)


def _training(runs: Sequence[Run], title: str, key: str, low: float | None) -> Markup | None:
    series: list[Series] = []
    for run in runs:
        points = [(float(r["step"]), float(r[key])) for r in run.records if r.get(key) is not None]
        if run.kind == TRAINING and len(points) > 1:
            series.append(Series(run.name, thin(points, 80), len(series)))
    return line_chart(title, series, low=low) if series else None


def _trade_off(runs: Sequence[Run]) -> Markup | None:
    """Of networks on the same classes; published ones among them where these are Kinetics-400's."""
    points, keys = _own(runs)
    if not points:
        return None
    if _comparable(runs):
        points, keys = points + _published_points(), [*keys, Key("published, 30 views", "mute", "ring")]
    return scatter("Top-1 against cost", points, keys, x="GFLOPs of a view, at its own input", y="top-1, %")


def _own(runs: Sequence[Run]) -> tuple[list[Point], list[Key]]:
    """Random baselines are evaluated in the centre view: beside one, everything is shown so."""
    points: list[Point] = []
    keys: list[Key] = []
    number = 0  # of runs with points
    centre = any(run.candidates for run in runs)
    for run in runs:
        colour = SERIES[number % len(SERIES)]
        done = [one for one in run.candidates if one.top1 is not None]
        for one in done:
            says = f"{run.name}: {one.kind} {one.hash}, {one.top1:.2f} %, {one.gflops:.4g} GFLOPs"
            points.append(Point(one.gflops, one.top1 or 0.0, says, colour, "star" if one.kind == "searched" else "dot"))
        shown = [one for _, one in run.evaluations if one.views == "center"] if centre else []
        for found in shown or ([run.best[1]] if run.best else []):
            says = f"{run.name}: {found.top1:.2f} %, {found.gflops_per_view:.4g} GFLOPs, {found.views}, {_input(found)}"
            points.append(Point(found.gflops_per_view, found.top1, says, colour, "diamond"))
        number += bool(done or run.best)
        kinds, name = {one.kind for one in done}, isolated(run.name)
        keys += [Key(join([name, ": random"]), colour, "dot")] * ("random" in kinds)
        keys += [Key(join([name, ": the searched one"]), colour, "star")] * ("searched" in kinds)
        keys += [Key(join([name, ": trained"]), colour, "diamond")] * bool(run.best)
    return points, keys


def _input(found: Evaluation) -> str:
    return f"{found.frames} × {found.crop}²"


def _comparable(runs: Sequence[Run]) -> bool:
    """Whether the runs are about what the published figures are about."""
    sizes = [len(run.best[1].top1_of_classes) for run in runs if run.best]
    return bool(sizes) and set(sizes) == {KINETICS} and all("kinetics" in run.data.lower() for run in runs)


def _published(runs: Sequence[Run]) -> Markup | None:
    """Beside results on other data, in a chart of its own: they cannot be compared."""
    if _comparable(runs) or not _own(runs)[0]:
        return None
    keys = [Key("published figures, not run here: Kinetics-400, 30 views († without attention)", "mute", "ring")]
    return scatter(
        "Published, for orientation",
        _published_points(label=True),
        keys,
        x="GFLOPs of a view",
        y="top-1, % of Kinetics-400",
    )


def _published_points(label: bool = False) -> list[Point]:
    return [
        Point(
            one.gflops / published.VIEWS,
            one.top1,
            f"published: {one.name}, {one.top1} %, {one.gflops:g} GFLOPs in {published.VIEWS} views, {one.params} M",
            "mute",
            "ring",
            one.name if label else "",
        )
        for one in published.TABLE
    ]


def _ranks(runs: Sequence[Run]) -> Markup | None:
    """Accuracy in the supernet against that of trainings, with batch norm recalibrated and not."""
    charts = []
    for run in runs:
        points = []
        for one in run.ranking.architectures if run.ranking else []:
            for colour, top1 in ("mute", one.supernet), ("a", one.recalibrated):
                if one.alone is not None:
                    says = f"{one.hash}: {top1:.2f} % in the supernet, {one.alone:.2f} % trained from scratch"
                    points.append(Point(top1, one.alone, says, colour, "ring" if colour == "mute" else "dot"))
        if points:
            keys = [Key("as the search left it", "mute", "ring"), Key("batch norm recalibrated", "a", "dot")]
            title = f"{run.name}: does the supernet rank as trainings do?"
            y = "top-1 when trained from scratch, %"
            charts.append(scatter(title, points, keys, x="top-1 in the supernet, %", y=y, log=False))
    return join(charts) if charts else None


def classes(runs: Sequence[Run]) -> Markup | None:
    """Top-1 of each class, best first; of many classes the ends of that list."""
    charts = []
    for run in runs:
        known = {n: v for n, v in run.best[1].top1_of_classes.items() if v is not None} if run.best else {}
        if not known:
            continue
        rows = [(n, v, f"{n}: {v:.1f} %") for n, v in sorted(known.items(), key=lambda item: -item[1])]
        half = MOST_CLASSES // 2
        if len(rows) <= MOST_CLASSES:
            charts.append(bars(f"{run.name}: top-1 of {len(rows)} classes", rows))
        else:
            charts.append(bars(f"{run.name}: the {half} best of {len(rows)} classes", rows[:half]))
            charts.append(bars(f"{run.name}: the {half} worst", rows[-half:], "b"))
    return tag("div", *charts, class_="grid charts") if charts else None


class Examples:
    """Frames of videos, for those runs whose data is still there; looked for once, when first needed."""

    def __init__(self, runs: Sequence[Run], notice: Callable[[str], None]) -> None:
        self._worst = {run.name: run.confusions()[:WORST] for run in runs}
        self._found: dict[str, tuple[dict[Confusion, Look], list[Look]]] = {}
        for run in runs:
            if run.kind == TRAINING and run.best:
                examples, hits, why = look(run, self._worst[run.name])
                self._found[run.name] = examples, hits
                if why:
                    notice(why)

    def confusions(self, runs: Sequence[Run]) -> Markup | None:
        """The worst of each run, with a frame where a video was found."""
        parts = []
        for run in runs:
            if not self._worst[run.name]:
                continue
            examples = self._found.get(run.name, ({}, []))[0]
            items = [confusion(one, examples.get(one)) for one in self._worst[run.name]]
            parts += [tag("h3", run.name), tag("ul", *items, class_="confusions")]
        return join(parts) if parts else None

    def looks(self, runs: Sequence[Run]) -> Markup | None:
        """Filmstrips: the frames above, below what speaks for the class that is predicted."""
        parts = []
        for run in runs:
            examples, hits = self._found.get(run.name, ({}, []))
            strips = [*hits, *examples.values()][:STRIPS]
            if strips:
                parts += [tag("h3", run.name), *map(strip, strips)]
        if not parts:
            return None
        text = "Frames of videos, and under them Grad-CAM++: bright is what speaks for the class that is predicted."
        return join([tag("p", text, class_="mute"), *parts])


def confusion(one: Confusion, example: Look | None) -> Markup:
    """An item of a list: what was taken for what, with a frame of a video of it."""
    words = [tag("b", one.actual), " taken for ", tag("b", one.taken), f": {one.wrong} of {one.videos} videos"]
    image = [tag("img", src=example.frame, alt=f"a frame of {example.path}")] if example else []
    says = [tag("br"), tag("span", "here ", *_taken_for(example), class_="mute")] if example else []
    return tag("li", *image, tag("span", *words, *says))


def _taken_for(one: Look) -> list[Markup]:
    return [isolated(one.predicted), escape(f" {100 * one.probability:.0f} %")]


def strip(one: Look) -> Markup:
    """Frames of a video, with the map under them."""
    right = ["right"] if one.actual == one.predicted else ["is ", isolated(one.actual)]
    says = f"frames of {one.path}, and what speaks for {one.predicted}"
    sizes = f"width:{one.frames * SIDE}px;min-width:{one.frames * SIDE * 2 // 3}px;max-width:100%"
    image = tag("img", src=one.strip, alt=says, class_="strip", style=sizes)
    return join(
        [
            tag("p", *_taken_for(one), tag("span", " (", *right, "; ", isolated(one.path), ")", class_="mute")),
            tag("div", image, class_="scroll", tabindex=0),
        ]
    )
