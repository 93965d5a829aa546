"""The papers' tables of complexity with our networks beside the printed figures: prints Markdown.

    python bench/complexity.py [--latency] [--repeats 20] [--largest-batch 256] [--device auto] [--precision fp32]

Supplements of Auto-TSNet, Table 4; "Deep Analysis", Table 1; DNR, Table 2; S2DNet, Table 3 (docs/papers.md). All are
figures of `autovid bench`, in the views, the batch and the unit of each table (autovid/studies/bench.py says which).
With --latency each table's networks also take turns on this machine: the papers' are an A100, a V100 and a 2080 Ti, so
what can be compared is the ratio to a table's first row.
"""

import argparse
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from hardware import hardware

from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import NetworkSpec
from autovid.run import Progress
from autovid.studies import Bench, BenchRow, BenchSettings, measured_network


class Row(NamedTuple):
    """What a paper prints of a network, GFLOPs and pace of a video; None: it does not. Without a crop: the views'."""

    title: str
    network: str
    params: float | None
    gflops: float | None
    pace: float
    classes: int = 400
    crop: int | None = None
    frames: int | None = None
    options: Mapping[str, Any] = MappingProxyType({})
    modules: Mapping[str, Any] = MappingProxyType({})

    def spec(self) -> NetworkSpec:
        """Ours."""
        sizes = {"classes": self.classes, "crop": self.crop, "frames": self.frames}
        return NetworkSpec(network=self.network, **sizes, options=dict(self.options), modules=dict(self.modules))


class Table(NamedTuple):
    """`views` of a video, `batch` clips at once; `pace` is what the paper gives of a video."""

    title: str
    views: str
    batch: int
    pace: Literal["s", "ms", "videos/s"]
    rows: list[Row]
    note: str = ""

    def ratio(self, pace: float) -> float:
        """How long a row takes, over the first row."""
        first = self.rows[0].pace
        return first / pace if self.pace == "videos/s" else pace / first


DNR: dict[str, Any] = {"dnr": {}}
POOLED = {"temporal_pooling": True}
TABLES = [
    Table("Auto-TSNet, Table 4: Kinetics-400, 30 views at the LeftCenterRight crop, A100", "10-lcr", 1, "s", [
        Row("X3D-S", "x3d_s", 3.8, 81, 0.816),
        Row("Auto-TSNet-S, no attention", "auto_tsnet_s_noattention", 7.7, 84, 1.023),
        Row("Auto-TSNet-S", "auto_tsnet_s", 8.6, 102, 1.206),
        Row("X3D-M", "x3d_m", 3.8, 186, 1.107),
        Row("Auto-TSNet-M, no attention", "auto_tsnet_m_noattention", 7.7, 156, 1.020),
        Row("Auto-TSNet-M", "auto_tsnet_m", 8.6, 183, 1.215),
        Row("X3D-L", "x3d_l", 6.1, 744, 2.190),
        Row("Auto-TSNet-L, no attention", "auto_tsnet_l_noattention", 12.2, 543, 1.935),
        Row("Auto-TSNet-L", "auto_tsnet_l", 13.2, 597, 2.133),
    ], "Auto-TSNet as found by us for these totals: the authors' architectures are not published."),
    Table("Deep Analysis, Table 1: Kinetics-400, 32 frames at 256x256, V100", "center", 1, "videos/s", [
        Row("TSN-ResNet50-tp", "tsn_resnet50", None, 73.9, 53.5, crop=256, frames=32, options=POOLED),
        Row("TAM-ResNet50", "tam_resnet50", None, 171.5, 14.2, crop=256, frames=32),
        Row("I3D-ResNet50", "i3d_resnet50", None, 335.3, 16.1, crop=256, frames=32),
        Row("SlowFast-ResNet50-8x8", "slowfast_r50_8x8", None, 65.7, 48.9, crop=256),
    ], "Printed as clips/sec, at the largest batch (40, 48, 44, 96); a video as one clip is our reading."),
    Table("DNR, Table 2: Kinetics-400, 8 frames, 30 views, 2080 Ti", "10-lcr", 1, "videos/s", [
        Row("TSN", "tsn_resnet50", None, 33 * 30, 10.9, crop=224),
        Row("TSN + DNR", "tsn_resnet50", None, 33 * 30, 7.6, crop=224, modules=DNR),
        Row("TSM", "tsm_resnet50", None, 33 * 30, 9.5, crop=224),
        Row("TSM + DNR", "tsm_resnet50", None, 33 * 30, 7.0, crop=224, modules=DNR),
        Row("TANet", "tanet_resnet50", None, 36 * 30, 2.8, crop=224),
        Row("TANet + DNR", "tanet_resnet50", None, 36 * 30, 1.8, crop=224, modules=DNR),
        Row("TDN", "tdn_resnet50", None, 36 * 30, 2.1, crop=224),
        Row("TDN + DNR", "tdn_resnet50", None, 36 * 30, 1.7, crop=224, modules=DNR),
    ], "Printed as 33x30 and 36x30 GFLOPs: those of 224x224, not of the 256x256 that these views would take."),
    Table("S2DNet, Table 3: Something-Something V2, 16 videos at once, V100", "center", 16, "ms", [
        Row("TSM", "tsm_resnet50", 24.3, 33, 8.4, classes=174),
        Row("S2DNet", "s2dnet", 28.0, 22, 6.5, classes=174),
    ], "AdaFocus, the table's third row, is not among our networks. TSM's 24.3 M are those of 400 classes."),
]  # fmt: skip


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--largest-batch", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()
    keep_memory()
    print(
        "# Complexity, printed and counted\n\nGFLOPs are 1e9 MACs of convolution, linear and matmul, those of a video."
    )
    if args.latency:
        print(f"\n{hardware()}; {args.precision}, medians of {args.repeats} rounds; a table's networks take turns.")
    else:
        print("\nTimes of ours are not measured here: they need `--latency`, and a machine that can be compared.")
    for table in TABLES:
        show(table, args)


def show(table: Table, args: argparse.Namespace) -> None:
    """A table; ratios of times are to its first row."""
    figures = benched(table, args)
    print(f"\n## {table.title}\n")
    head = ["network", "params (M)", "ours", "GFLOPs", "ours", "ours / printed", table.pace, "time / first"]
    head += ["ours", "time / first"] * args.latency
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row, figure in zip(table.rows, figures):
        cells = [*counted(table, row, figure), *(measured(table, figure) if args.latency else [])]
        print("| " + " | ".join(cells) + " |")
    if table.note:
        print(f"\n{table.note}")


def benched(table: Table, args: argparse.Namespace) -> list[BenchRow]:
    """Ours, in the table's views and batch; throughput where that is what it gives."""
    compute = Compute(args.device, args.precision)
    candidates = [
        measured_network(row.title, row.spec(), compute, crop=row.crop, frames=row.frames, views=table.views)
        for row in table.rows
    ]
    most = args.largest_batch if table.pace == "videos/s" else 0
    bench = Bench(candidates, BenchSettings(views=table.views, batch=table.batch, repeats=args.repeats, most=most))
    if args.latency:
        bench.measure(Progress(table.title, stream=sys.stderr))
    return bench.rows


def counted(table: Table, row: Row, figure: BenchRow) -> list[str]:
    """What is printed, and what ours has that no clock measures."""
    return [
        row.title,
        "-" if row.params is None else f"{row.params}",
        f"{figure.params / 1e6:.2f}",
        "-" if row.gflops is None else f"{row.gflops:g}",
        f"{figure.gflops_of_views:.1f}",
        "-" if row.gflops is None else f"{figure.gflops_of_views / row.gflops:.3f}",
        f"{row.pace:g}",
        f"{table.ratio(row.pace):.2f}",
    ]


def measured(table: Table, figure: BenchRow) -> list[str]:
    """Ours in the table's unit, and the median over rounds of the time over the first row's."""
    if table.pace == "videos/s":
        pace, ratio = figure.videos_per_second, figure.clips_per_second_ratio
        return ["-", "-"] if pace is None or ratio is None else [f"{pace:.4g}", f"{1 / ratio:.2f}"]
    if figure.ms_per_video is None or figure.latency_ratio is None:
        return ["-", "-"]
    return [f"{figure.ms_per_video / (1e3 if table.pace == 's' else 1):.4g}", f"{figure.latency_ratio:.2f}"]


if __name__ == "__main__":
    main()
