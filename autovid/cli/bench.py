"""autovid bench: size, latency, throughput and memory of networks, side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import options
from autovid.cli.launch import exit_code

if TYPE_CHECKING:
    from autovid.studies import Bench


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help="a network's name, a YAML file of one or of an architecture, or a run; ratios are to the first",
    )
    parser.add_argument("-o", "--out", type=Path, help="folder for table, JSON and plot (default: runs/bench-WHAT)")
    parser.add_argument(
        "--views",
        default="center",
        metavar="VIEWS",
        help="of a video, whose totals are given: center (default), lcr, 10-center, 10-lcr, or as numbers 1, 3, 10, "
        "30; the crops of lcr are larger, as evaluate cuts them (160: 182)",
    )
    parser.add_argument("--batch", type=options.positive, default=1, metavar="N", help="clips at once (latency; 1)")
    parser.add_argument("--repeats", type=options.positive, default=500, metavar="N", help="of the latency (500)")
    parser.add_argument(
        "--largest-batch",
        type=options.not_negative,
        default=256,
        metavar="N",
        help="largest batch for the throughput (256); 0: no throughput",
    )
    parser.add_argument("--frames", type=options.positive, help="of the clips (default: each network's own)")
    parser.add_argument(
        "--crop", type=options.positive, help="of the clips, pixels (default: each network's own, as views cut it)"
    )
    parser.add_argument(
        "--runtime",
        type=options.runtimes,
        default=["torch"],
        metavar="NAME,NAME",
        help=f"side by side: some of {', '.join(options.RUNTIMES)} (default: torch)",
    )
    measuring(parser)


def measuring(parser: argparse.ArgumentParser, compiling: bool = True) -> None:
    """Add the options of the machine."""
    group = parser.add_argument_group("machine")
    options.device(group)
    group.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"], help="default fp32")
    group.add_argument("--threads", type=options.positive, metavar="N", help="of the CPU (default: torch's)")
    if compiling:
        group.add_argument("--compile", action="store_true", help="by torch.compile")


def run(args: argparse.Namespace) -> int:
    """Measure networks, print and write the results, also after Ctrl-C."""
    from autovid.data.views import views_name
    from autovid.errors import RunError
    from autovid.fileio import explained
    from autovid.kernels.compute import Compute
    from autovid.measure import use_threads
    from autovid.run import Progress
    from autovid.runtimes.sessions import check_runtimes
    from autovid.studies import Bench, BenchSettings, open_measured, write_bench
    from autovid.studies.measured import in_runtime

    if args.out and (args.out.is_file() or (args.out.is_dir() and any(args.out.iterdir()))):
        raise RunError(f"{args.out} exists already; choose another -o")
    views = views_name(args.views)
    compute = Compute(args.device, args.precision)
    use_threads(args.threads, compute.device)
    check_runtimes(args.runtime)
    networks = [
        in_runtime(network, runtime)
        for word in args.what
        for network in [
            open_measured(word, compute, compiled=args.compile, frames=args.frames, crop=args.crop, views=views)
        ]
        for runtime in args.runtime
    ]
    settings = BenchSettings(views=views, batch=args.batch, repeats=args.repeats, most=args.largest_batch)
    bench = Bench(networks, settings, args.compile)
    out = args.out or options.free_directory(f"bench-{networks[0].name}")
    with explained(f"cannot make {out}"):
        out.mkdir(parents=True, exist_ok=True)
    code = 0
    try:
        bench.measure(Progress(f"bench of {len(networks)} on {compute.device}"), lambda: write_bench(out, bench))
    except KeyboardInterrupt as stop:
        print("stopped; what is measured:")
        code = exit_code(stop)
    write_bench(out, bench)
    _show(bench, out)
    return code


def _show(bench: "Bench", out: Path) -> None:
    from autovid.cli.console import table
    from autovid.studies import notes, tables

    for columns, rows in tables(bench):
        table("", columns, rows)
    print("\n".join(notes(bench)))
    print(f"where  {out}: table.csv, bench.json, plot.png")
