"""autovid profile: what this machine computes in a second, for --dry-run --hardware."""

import argparse
import shlex
from pathlib import Path

from autovid.cli import options
from autovid.cli.launch import exit_code


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the profile, as JSON")
    group = parser.add_argument_group("machine")
    options.device(group)
    group.add_argument(
        "--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"],
        help="of training; auto (default) takes what measures fastest here",
    )  # fmt: skip
    group.add_argument("--threads", type=options.positive, metavar="N", help="of a worker on a CPU (default: torch's)")


def run(args: argparse.Namespace) -> int:
    """Measure the machine and write its profile; Ctrl-C leaves no file."""
    from autovid.errors import RunError
    from autovid.kernels.compute import Compute
    from autovid.measure import use_threads
    from autovid.studies.profile import measure_machine, write_machine_profile

    if args.out.exists():
        raise RunError(f"{args.out} is there already; choose another -o")
    compute = Compute(args.device, args.precision)
    use_threads(args.threads, compute.device)
    try:
        profile = measure_machine(compute)
    except KeyboardInterrupt as stop:
        print("stopped; nothing is written")
        return exit_code(stop)
    write_machine_profile(args.out, profile)
    print(profile.about())
    print(f"at most {profile.peak / 1e9:,.0f} GMACs and {profile.bandwidth / 1e9:,.0f} GB of memory a second")
    exchange, decoding = profile.exchange, profile.decoding
    if exchange is not None:
        speed = f"{exchange.bandwidth / 1e9:.2g} GB a second, {exchange.latency * 1e3:.2g} ms for a message"
        print(f"between two workers of this machine {speed}; write a cluster's numbers into the file")
    else:
        print('the exchange between workers needs two GPUs, or a cluster\'s numbers in the file: "exchange"')
    if decoding is not None:
        print(f"a core decodes {1 / decoding.frame:,.0f} frames of 340x256 a second")
    name = shlex.quote(str(args.out))
    print(f"where  {args.out}")
    print(f"next   autovid train EXPERIMENT --dry-run --hardware {name} --workers 8")
    return 0
