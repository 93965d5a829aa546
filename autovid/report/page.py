"""The pages: the report about some runs, and that of a comparison. Each is one HTML file, which fetches nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from autovid import __version__
from autovid.errors import ConfigError
from autovid.report import accuracy, search, summary
from autovid.report.markup import SERIES, LegendEntry, Point, document, isolated, scatter, section
from autovid.report.runs import Run, read_run, read_runs
from autovid.run import write_atomic
from autovid.studies.side_by_side import Standing, ranked, verdict

LARGEST = 3_000_000  # bytes of a page


def write_report(paths: Sequence[Path], out: Path, notice: Callable[[str], None] = lambda line: None) -> int:
    """Write the page about the runs in `paths`, and return its size in bytes.

    Raises RunError and ConfigError for what is no run, and where a page would be larger than 3 MB.
    """
    text = page(read_runs(paths), notice)
    size = len(text.encode())
    if size > LARGEST:
        raise ConfigError(f"the report would be {size / 1e6:.1f} MB, more than a page should be; give fewer runs")
    write_atomic(out, text)
    return size


def page(runs: Sequence[Run], notice: Callable[[str], None] = lambda line: None) -> str:
    """Render the whole page; `notice` is told what had to be left out and why."""
    videos = accuracy.Videos(runs, notice)
    sections: tuple[tuple[str, str, Callable[[Sequence[Run]], Markup | None]], ...] = (
        ("summary", "Results", summary.summary),
        ("compare", "Side by side", summary.comparison),
        ("architecture", "The architecture", summary.architectures),
        ("search", "The search", search.curves),
        ("decisions", "Every decision", search.decisions),
        ("accuracy", "Accuracy", accuracy.accuracy),
        ("classes", "Class by class", accuracy.classes),
        ("confusions", "Confusions", videos.confusions),
        ("maps", "Activation maps", videos.strips),
        ("cost", "Costs, and how to run it again", summary.costs),
    )
    contents = [
        {"anchor": anchor, "heading": heading, "content": content}
        for anchor, heading, render in sections
        if (content := render(runs)) is not None
    ]
    names = [run.name for run in runs]
    footer = f"Made by autovid {__version__}. {summary.CONVENTION}"
    body = section("page", names=names, sections=contents, footer=footer)
    return document(f"autovid: {', '.join(names)}", body)


HEAD = (
    "network", "from", "top-1 (%)", "95 % interval", "top-5 (%)", "GFLOPs a view", "parameters (M)", "latency (ms)",
    "quartiles", "input",
)  # fmt: skip
NOTES = (
    "The interval says what top-1 other videos of the same kind would give (Wilson). Another seed moves it, too.",
    "Latency is of one clip at the network's input, in fp32, on this machine; networks took turns.",
    summary.CONVENTION,
)
CHOSEN = (
    "val has chosen the checkpoint of each training, so top-1 on it is a little too good. Where there is a split test, "
    "autovid evaluate --split test measures the run of a network on videos that have chosen nothing."
)


def write_page(out: Path, standings: Sequence[Standing], trainings: Sequence[Path]) -> None:
    """Write the page about networks, in the order of `trainings`, their run directories. Raises RunError."""
    runs = [
        replace(read_run(path), name=one.name)
        for one, path in zip(standings, trainings)
        if (path / "config.yaml").is_file()
    ]
    sections = [("networks", "Which network?", networks(standings))]
    if curves := accuracy.curves(runs):
        sections.append(("training", "Training", section("grid", parts=curves, kind=" charts")))
    sections.append(("cost", "Costs, and how to run it again", summary.costs(runs)))
    contents = [{"anchor": anchor, "heading": heading, "content": content} for anchor, heading, content in sections]
    body = section("page", names=["which network?"], sections=contents, footer=f"Made by autovid {__version__}.")
    write_atomic(out, document("autovid: which network?", body))


def networks(standings: Sequence[Standing]) -> Markup:
    """Say which is best, with a table, the best first, and top-1 against cost and against latency."""
    rows, lead = [_row(one) for one in ranked(standings)], isolated(verdict(standings))
    notes = [CHOSEN, *NOTES] if any(one.validations for one in standings) else NOTES
    return section("standings", lead=lead, notes=notes, head=HEAD, rows=rows, charts=_charts(standings))


def _row(one: Standing) -> list[str]:
    if one.top1 is None:
        return [one.name, one.kind, "diverged" if one.failed else "not yet", *[""] * (len(HEAD) - 3)]
    latency = (
        ["", ""] if one.latency is None else [f"{one.latency:.1f}", f"{one.latency_q1:.1f} – {one.latency_q3:.1f}"]
    )
    return [
        one.name,
        one.kind,
        f"{one.top1:.2f}",
        f"{one.low:.1f} – {one.high:.1f}",
        "" if one.top5 is None else f"{one.top5:.2f}",
        f"{one.gflops:.4g}",
        f"{(one.params or 0) / 1e6:.2f}",
        *latency,
        f"{one.frames} × {one.crop}²",
    ]


def _charts(standings: Sequence[Standing]) -> list[Markup]:
    """Draw top-1 with its interval against GFLOPs, and against latency where it is measured; a colour for each kind."""
    kinds = list(dict.fromkeys(one.kind for one in standings))
    colours = {kind: SERIES[number % len(SERIES)] for number, kind in enumerate(kinds)}
    legend = [LegendEntry(kind, colour, "dot") for kind, colour in colours.items()]
    axes = {"Top-1 against cost": ("gflops", "GFLOPs of a view"), "Top-1 against latency": ("latency", "ms of a clip")}
    charts = []
    for title, (name, x) in axes.items():
        points = [
            Point(value, one.top1, _title(one), colours[one.kind], label=one.name[:24], ends=(one.low, one.high))
            for one in standings
            if (value := getattr(one, name)) and one.top1 is not None and one.low is not None and one.high is not None
        ]
        if points:
            charts.append(scatter(title, points, legend, x=x, y="top-1, % (95 % interval)"))
    return charts


def _title(one: Standing) -> str:
    latency = "" if one.latency is None else f", {one.latency:.1f} ms"
    return f"{one.name}: {one.top1:.2f} % ({one.low:.1f} – {one.high:.1f}), {one.gflops:.4g} GFLOPs{latency}"
