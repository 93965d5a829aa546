"""The papers' tables of complexity with our networks beside the printed figures: prints Markdown.

    python bench/complexity.py [--latency] [--repeats 20] [--device auto] [--precision fp32]

Seed-auto-tsnet, Table 4; seed-deep-analysis, Table 1; seed-dnr, Table 2; seed-s2dnet, Table 3. Parameters and GFLOPs
are counted on the meta device. With --latency each table's networks also take turns on this machine, and times are
given as ratios to the table's first row, printed beside ours: the papers' machines are an A100, a V100 and a 2080 Ti.
"""

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from hardware import hardware

from autovid.cost import count
from autovid.measure.timing import Turns
from autovid.models import NetworkSpec, build_network
from autovid.nn.allocator import keep_memory
from autovid.nn.compute import Compute


class Row(NamedTuple):
    """What a paper prints; None: it does not. `pace` is a time, or with `speed` of the table videos a second."""

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
    """`views`: of which the GFLOPs are the total. `speed`: the pace counts videos, not seconds."""

    title: str
    views: int
    speed: bool
    rows: list[Row]
    note: str = ""


DNR: dict[str, Any] = {"dnr": {}}
POOLED = {"temporal_pooling": True}
TABLES = [
    Table("Auto-TSNet, Table 4: Kinetics-400, 30 views at the LeftCenterRight crop, A100, seconds", 30, False, [
        Row("X3D-S", "x3d_s", 3.8, 81, 0.816, crop=182),
        Row("Auto-TSNet-S, no attention", "auto_tsnet_s_noattention", 7.7, 84, 1.023, crop=182),
        Row("Auto-TSNet-S", "auto_tsnet_s", 8.6, 102, 1.206, crop=182),
        Row("X3D-M", "x3d_m", 3.8, 186, 1.107, crop=256),
        Row("Auto-TSNet-M, no attention", "auto_tsnet_m_noattention", 7.7, 156, 1.020, crop=256),
        Row("Auto-TSNet-M", "auto_tsnet_m", 8.6, 183, 1.215, crop=256),
        Row("X3D-L", "x3d_l", 6.1, 744, 2.190, crop=356),
        Row("Auto-TSNet-L, no attention", "auto_tsnet_l_noattention", 12.2, 543, 1.935, crop=356),
        Row("Auto-TSNet-L", "auto_tsnet_l", 13.2, 597, 2.133, crop=356),
    ], "Auto-TSNet as found by us for these totals: the authors' architectures are not published."),
    Table("Deep Analysis, Table 1: Kinetics-400, 32 frames at 256x256, V100, clips a second", 1, True, [
        Row("TSN-ResNet50-tp", "tsn_resnet50", None, 73.9, 53.5, crop=256, frames=32, options=POOLED),
        Row("TAM-ResNet50", "tam_resnet50", None, 171.5, 14.2, crop=256, frames=32),
        Row("I3D-ResNet50", "i3d_resnet50", None, 335.3, 16.1, crop=256, frames=32),
        Row("SlowFast-ResNet50-8x8", "slowfast_r50_8x8", None, 65.7, 48.9, crop=256),
    ], "The paper measures at its largest batch (40, 48, 44, 96); --latency measures one clip."),
    Table("DNR, Table 2: Kinetics-400, 8 frames, 2080 Ti, videos of 30 views a second", 1, True, [
        Row("TSN", "tsn_resnet50", None, 33, 10.9),
        Row("TSN + DNR", "tsn_resnet50", None, 33, 7.6, modules=DNR),
        Row("TSM", "tsm_resnet50", None, 33, 9.5),
        Row("TSM + DNR", "tsm_resnet50", None, 33, 7.0, modules=DNR),
        Row("TANet", "tanet_resnet50", None, 36, 2.8),
        Row("TANet + DNR", "tanet_resnet50", None, 36, 1.8, modules=DNR),
        Row("TDN", "tdn_resnet50", None, 36, 2.1),
        Row("TDN + DNR", "tdn_resnet50", None, 36, 1.7, modules=DNR),
    ], "GFLOPs of a view. At the clips of the networks' own code: 224x224."),
    Table("S2DNet, Table 3: Something-Something V2, V100, milliseconds a video in a batch of 16", 1, False, [
        Row("TSM", "tsm_resnet50", 24.3, 33, 8.4, classes=174),
        Row("S2DNet", "s2dnet", 28.0, 22, 6.5, classes=174),
    ], "AdaFocus, the table's third row, is not among our networks. TSM's 24.3 M are those of 400 classes."),
]  # fmt: skip


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()
    keep_memory()
    print("# Complexity, printed and counted\n\nGFLOPs are 1e9 MACs of convolution, linear and matmul.")
    if args.latency:
        print(f"\n{hardware()}; {args.precision}, one clip, median ratio of {args.repeats} rounds.")
    for table in TABLES:
        print(f"\n## {table.title}\n")
        head = ["network", "params (M)", "ours", "GFLOPs", "ours", "ours / printed", "printed time, ratio to the first"]
        head += ["ours"] * args.latency
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        ratios = measured(table, args) if args.latency else []
        for number, row in enumerate(table.rows):
            print(
                "| "
                + " | ".join([*cells(table, row), *(f"{ratio:.2f}" for ratio in ratios[number : number + 1])])
                + " |"
            )
        if table.note:
            print(f"\n{table.note}")


def cells(table: Table, row: Row) -> list[str]:
    """A row as text."""
    found = count(build_network(row.spec(), device="meta"))
    gflops = found.macs * table.views / 1e9
    first = table.rows[0].pace
    ratio = first / row.pace if table.speed else row.pace / first
    return [
        row.title,
        "-" if row.params is None else f"{row.params}",
        f"{found.params / 1e6:.2f}",
        "-" if row.gflops is None else f"{row.gflops:g}",
        f"{gflops:.1f}",
        "-" if row.gflops is None else f"{gflops / row.gflops:.3f}",
        f"{ratio:.2f}",
    ]


def measured(table: Table, args: argparse.Namespace) -> list[float]:
    """Each network's time as a ratio to the first one's."""
    compute = Compute(args.device, args.precision)
    runs = []
    for row in table.rows:
        net = build_network(row.spec()).to(compute.device).eval()
        x = torch.randn(1, 3, net.clip.frames, net.clip.crop, net.clip.crop, device=compute.device)

        def run(net: torch.nn.Module = net, x: torch.Tensor = x) -> None:
            with torch.inference_mode(), compute.autocast("forward"):
                net(x.contiguous(memory_format=torch.channels_last_3d))

        runs.append(run)
    turns = Turns(runs, compute.device)
    turns.warm_up(2)
    for _ in range(args.repeats):
        turns.one_round()
    return [float(np.round(turns.ratio(number), 3)) for number in range(len(runs))]


if __name__ == "__main__":
    main()
