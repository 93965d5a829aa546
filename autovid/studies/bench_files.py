"""The files of a benchmark, table.csv, bench.json and plot.png, and its tables for the terminal."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from autovid.data.lists import csv_text
from autovid.fileio import png_bytes
from autovid.run import write_atomic
from autovid.studies.bench import Bench, BenchRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNSTEADY = 0.2  # spread of the quartiles over the median, above which a ratio means little
INK, PALE, MUTED = "#3b6ea5", "#c9d8e8", "#5c6370"


def write_bench(folder: Path, bench: Bench) -> None:
    """Bring the files in `folder` up to date."""
    content = {**bench.about(), "figures": [msgspec.to_builtins(row) for row in bench.rows]}
    write_atomic(folder / "bench.json", json.dumps(content, indent=1) + "\n")
    write_atomic(folder / "table.csv", _csv(bench))
    write_atomic(folder / "plot.png", bench_png(bench))


def tables(bench: Bench) -> list[tuple[list[str], list[list[str]]]]:
    """Return columns and rows of tables narrow enough for any terminal; ratios are to the first network.

    The last one is of videos, where a video is more than one clip or clips pass several at once.
    """
    views, batch = bench.settings.views_per_video, bench.settings.batch
    size = ["network", "M params", "GFLOPs", f"ms, {batch} clips" if batch > 1 else "ms", "quartiles", "ratio"]
    speed = ["network", "peak MiB", "clips/s", "quartiles", "at batch", "ratio"]
    video = [f"a video: {views} view{'s' * (views > 1)} ({bench.settings.views})", "GFLOPs", "ms", "videos/s"]
    sizes, speeds, videos = [], [], []
    for row in bench.rows:
        title = f"{row.name} {row.frames}x{row.crop}²{_runtime(row)}"
        latency = [_number(row.latency_median), _range(row.latency_q1, row.latency_q3), _ratio(row.latency_ratio)]
        sizes.append([title, f"{row.params / 1e6:.2f}", f"{row.gflops_per_view:.4g}", *latency])
        peak = "-" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}"
        rate = [_number(row.clips_per_second), _range(row.clips_per_second_q1, row.clips_per_second_q3)]
        at_batch = "-" if row.largest_batch is None else f"{row.largest_batch}{'*' * (row.largest_batch_is == 'asked')}"
        speeds.append([title, peak, *rate, at_batch, _ratio(row.clips_per_second_ratio)])
        totals = [_number(row.ms_per_video), _number(row.videos_per_second)]
        videos.append([title, f"{row.gflops_of_views:.4g}", *totals])
    return [(size, sizes), (speed, speeds), *([(video, videos)] if max(views, batch) > 1 else [])]


def notes(bench: Bench) -> list[str]:
    """Return the notes under the tables."""
    about = bench.about()
    compiled = ", compiled" if bench.compiled else ""
    lines = [
        f"{about['hardware']}; {about['device']}, {about['precision']}{compiled}",
        f"latency: {bench.settings.batch} at once, median and quartiles of {bench.rows[0].repeats} repeats in which "
        "the networks took turns; its ratio is the median of the ratios within a repeat",
        f"peak memory: {about['memory_is']}, at that batch",
        "FLOPs: MACs of convolution, linear and matmul at the clip named; 1 GFLOPs = 1e9 MACs",
    ]
    if any(row.runtime != "torch" for row in bench.rows):
        lines.append("runtimes have the folded network as export writes it, and as many threads as torch")
    if len(tables(bench)) > 2:
        lines.append("of a video: views x GFLOPs, views x latency / clips at once, clips a second / views")
    if any(_spread(row) > UNSTEADY for row in bench.rows):
        lines.append(
            f"the latencies spread by more than {UNSTEADY:.0%}: something else runs here; better measure again"
        )
    if any(row.largest_batch_is == "asked" for row in bench.rows):
        lines.append(f"* more than {bench.settings.most} clips at once were not tried (--largest-batch)")
    return lines


def _spread(row: BenchRow) -> float:
    """Return the distance of the quartiles, as a fraction of the median."""
    if row.latency_q1 is None or row.latency_q3 is None or not row.latency_median:
        return 0.0
    return (row.latency_q3 - row.latency_q1) / row.latency_median


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"


def _runtime(row: BenchRow) -> str:
    """Name the runtime where it is not torch."""
    return "" if row.runtime == "torch" else f", {row.runtime}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"{_number(low)}–{_number(high)}"


def _csv(bench: Bench) -> str:
    names = [field.name for field in msgspec.structs.fields(BenchRow)]
    about = {key: value for key, value in bench.about().items() if key in ("hardware", "device", "precision", "batch")}
    rows = [[*msgspec.structs.astuple(row), *about.values()] for row in bench.rows]
    return csv_text([[*names, *about], *rows])


def bench_png(bench: Bench) -> bytes:
    """Draw latency, GFLOPs and throughput as bars, a row a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.6 + 0.42 * len(bench.rows)), dpi=150, layout="constrained")
    latency, cost, speed = figure.subplots(1, 3, sharey=True)
    names = [f"{row.name}\n{row.frames}x{row.crop}²{_runtime(row)}" for row in bench.rows]
    _bars(
        latency,
        "latency (ms), quartiles",
        [row.latency_median for row in bench.rows],
        [row.latency_q3 for row in bench.rows],
    )
    for place, row in enumerate(bench.rows):
        if row.latency_q1 is not None and row.latency_q3 is not None:
            latency.plot([row.latency_q1, row.latency_q3], [place, place], color=MUTED, linewidth=2)
    _bars(cost, "GFLOPs a view", [row.gflops_per_view for row in bench.rows])
    _bars(speed, "clips a second", [row.clips_per_second for row in bench.rows])
    latency.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)  # a name may hold a $
    latency.invert_yaxis()
    about = bench.about()
    figure.suptitle(
        f"{about['device_name']}, {about['precision']}, {about['threads']} thread{'s' * (about['threads'] != 1)}",
        fontsize=8,
        color=MUTED,
        parse_math=False,
    )
    return png_bytes(figure)


def _bars(axes: "Axes", title: str, values: list[float | None], ends: list[float | None] | None = None) -> None:
    """Draw a bar a value, and the value behind it, or behind `ends`."""
    axes.barh(range(len(values)), [value or 0.0 for value in values], color=[INK, *[PALE] * (len(values) - 1)])
    for place, (value, end) in enumerate(zip(values, ends or values)):
        axes.annotate(_number(value), (end or 0.0, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_title(title, fontsize=8)
    axes.margins(x=0.2)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
