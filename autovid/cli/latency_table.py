"""autovid latency-table: the latency of every distinct block of a space, for --latency."""

import argparse
import shlex
from pathlib import Path

from autovid.cli import bench, options
from autovid.cli.launch import exit_code


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--space", default="two_stream", help="a name from `autovid list`, or a YAML file (default: two_stream)"
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="default: latency-SPACE-DEVICE-PRECISION[-RUNTIME].json"
    )
    parser.add_argument("--resume", action="store_true", help="continue in the file without repeating measurements")
    parser.add_argument("--batch", type=options.positive, default=1, metavar="N", help="clips at once (1)")
    parser.add_argument("--repeats", type=options.positive, default=20, metavar="N", help="of each block (20)")
    parser.add_argument(
        "--runtime", choices=options.RUNTIMES, default="torch", help="what runs the blocks (default: torch)"
    )
    bench.measuring(parser, compiling=False)


def run(args: argparse.Namespace) -> int:
    """Measure blocks and write the table; Ctrl-C keeps finished measurements."""
    from autovid.costs import latency_table
    from autovid.kernels.compute import Compute
    from autovid.measure import check_batch, use_threads
    from autovid.space import load_space
    from autovid.studies import measure_blocks

    space = load_space(args.space)
    compute = Compute(args.device, args.precision)
    use_threads(args.threads, compute.device)
    reference = space.reference
    check_batch(args.batch, 4 * 3 * reference.frames * reference.crop**2, compute.device)
    runtime = "" if args.runtime == "torch" else f"-{args.runtime}"
    out = args.out or Path(f"latency-{space.name}-{compute.device.type}-{args.precision}{runtime}.json")
    settings = {"batch": args.batch, "repeats": args.repeats, "runtime": args.runtime, "resume": args.resume}
    try:
        file = measure_blocks([space], out, compute, **settings)
    except KeyboardInterrupt as stop:
        print(f"stopped; what is measured is in {out}: the same command with --resume goes on")
        return exit_code(stop)
    table = latency_table(space, file)
    low, high = (cost / 1e6 for cost in (table.smallest()[0], table.largest()[0]))
    print(f"{len(file.blocks)} blocks of {space.name}: its architectures take {low:.4g} to {high:.4g} ms")
    print(file.about())
    name = shlex.quote(str(out))
    print(f"where  {out}")
    print(f"next   autovid search --space {args.space} --latency MIN:MAX --latency-table {name}")
    return 0
