"""What a bench leaves: table.csv, bench.json and plot.png in its folder, and the tables that the terminal shows."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from autovid.run import write_atomic
from autovid.studies.bench import Bench, Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNSTEADY = 0.2  # a spread of the quartiles, over the median, past which a ratio says little
INK, PALE, MUTED = "#3b6ea5", "#c9d8e8", "#5c6370"


def write_bench(folder: Path, bench: Bench) -> None:
    """Brings the files in `folder` up to date."""
    content = {**bench.about(), "figures": [msgspec.to_builtins(found) for found in bench.figures]}
    write_atomic(folder / "bench.json", json.dumps(content, indent=1) + "\n")
    write_atomic(folder / "table.csv", _csv(bench))
    write_atomic(folder / "plot.png", bench_png(bench))


def tables(bench: Bench) -> list[tuple[list[str], list[list[str]]]]:
    """Columns and rows of tables narrow enough for any terminal; ratios are to the first candidate.

    The last one is of videos, where a video is more than one clip or clips pass several at once.
    """
    ms = f"ms, {bench.settings.batch} clips" if bench.settings.batch > 1 else "ms"
    size = ["network", "M params", "GFLOPs", ms, "quartiles", "ratio"]
    sizes = [
        [
            _title(found),
            f"{found.params / 1e6:.2f}",
            f"{found.gflops_per_view:.4g}",
            _number(found.latency_median),
            _range(found.latency_q1, found.latency_q3),
            _ratio(found.latency_ratio),
        ]
        for found in bench.figures
    ]
    speed = ["network", "peak MiB", "clips/s", "quartiles", "at batch", "ratio"]
    speeds = [
        [
            _title(found),
            "-" if found.peak_bytes is None else f"{found.peak_bytes / 2**20:,.0f}",
            _number(found.clips_per_second),
            _range(found.clips_per_second_q1, found.clips_per_second_q3),
            _batch(found),
            _ratio(found.clips_per_second_ratio),
        ]
        for found in bench.figures
    ]
    views = bench.settings.views_per_video
    video = [f"a video: {views} view{'s' * (views > 1)} ({bench.settings.views})", "GFLOPs", "ms", "videos/s"]
    videos = [
        [
            _title(found),
            f"{found.gflops_of_views:.4g}",
            _number(found.ms_per_video),
            _number(found.videos_per_second),
        ]
        for found in bench.figures
    ]
    totals = [(video, videos)] if max(views, bench.settings.batch) > 1 else []
    return [(size, sizes), (speed, speeds), *totals]


def _title(found: Figures) -> str:
    return f"{found.name} {found.frames}x{found.crop}²"


def notes(bench: Bench) -> list[str]:
    """What is to be said under the table."""
    about = bench.about()
    compiled = ", compiled" if bench.compiled else ""
    lines = [
        f"{about['hardware']}; {about['device']}, {about['precision']}{compiled}",
        f"latency: {bench.settings.batch} at once, median and quartiles of {bench.figures[0].repeats} repeats in which "
        "the candidates took turns; its ratio is the median of the ratios within a repeat",
        f"peak memory: {about['memory_is']}, at that batch",
        "FLOPs: MACs of convolution, linear and matmul at the clip named; 1 GFLOPs = 1e9 MACs",
    ]
    if len(tables(bench)) > 2:
        lines.append("of a video: views x GFLOPs, views x latency / clips at once, clips a second / views")
    if any(_spread(found) > UNSTEADY for found in bench.figures):
        lines.append(
            f"the latencies spread by more than {UNSTEADY:.0%}: something else runs here; better measure again"
        )
    if any(found.largest_batch_is == "asked" for found in bench.figures):
        lines.append(f"* more than {bench.settings.most} clips at once were not tried (--largest-batch)")
    return lines


def _spread(found: Figures) -> float:
    """The distance of the quartiles, as a share of the median."""
    if found.latency_q1 is None or found.latency_q3 is None or not found.latency_median:
        return 0.0
    return (found.latency_q3 - found.latency_q1) / found.latency_median


def _batch(found: Figures) -> str:
    if found.largest_batch is None:
        return "-"
    return f"{found.largest_batch}{'*' if found.largest_batch_is == 'asked' else ''}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"{_number(low)}–{_number(high)}"


def _csv(bench: Bench) -> str:
    text = io.StringIO()
    names = [field.name for field in msgspec.structs.fields(Figures)]
    about = {key: value for key, value in bench.about().items() if key in ("hardware", "device", "precision", "batch")}
    writer = csv.DictWriter(text, [*names, *about], lineterminator="\n")
    writer.writeheader()
    for found in bench.figures:
        writer.writerow({**msgspec.structs.asdict(found), **about})
    return text.getvalue()


def bench_png(bench: Bench) -> bytes:
    """Latency, GFLOPs and throughput as bars, a row a candidate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.6 + 0.42 * len(bench.figures)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    latency, cost, speed = figure.subplots(1, 3, sharey=True)
    names = [f"{found.name}\n{found.frames}x{found.crop}²" for found in bench.figures]
    _bars(
        latency,
        "latency (ms), quartiles",
        [found.latency_median for found in bench.figures],
        [found.latency_q3 for found in bench.figures],
    )
    for place, found in enumerate(bench.figures):
        if found.latency_q1 is not None and found.latency_q3 is not None:
            latency.plot([found.latency_q1, found.latency_q3], [place, place], color=MUTED, linewidth=2)
    _bars(cost, "GFLOPs a view", [found.gflops_per_view for found in bench.figures])
    _bars(speed, "clips a second", [found.clips_per_second for found in bench.figures])
    latency.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)  # a name may hold a $
    latency.invert_yaxis()
    about = bench.about()
    figure.suptitle(
        f"{about['device_name']}, {about['precision']}, {about['threads']} thread{'s' * (about['threads'] != 1)}",
        fontsize=8,
        color=MUTED,
        parse_math=False,
    )
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _bars(axes: "Axes", title: str, values: list[float | None], ends: list[float | None] | None = None) -> None:
    """A bar a value, and the value behind it, or behind `ends`."""
    axes.barh(range(len(values)), [value or 0.0 for value in values], color=[INK, *[PALE] * (len(values) - 1)])
    for place, (value, end) in enumerate(zip(values, ends or values)):
        axes.annotate(_number(value), (end or 0.0, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_title(title, fontsize=8)
    axes.margins(x=0.2)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
