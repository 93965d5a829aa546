"""Latency as a table of blocks predicts it, beside the latency of whole networks: prints Markdown.

    python bench/latency_error.py [--space tiny] [-n 50] [--table FILE] [--threads 1] [--repeats 20]
                                    [--runtime openvino]

Draws `-n` random architectures of a space, measures what the table lacks of their blocks (without --table, all of their
blocks and no others), then the networks themselves, taking turns. The overhead in the table is fitted to 8 other
networks, so none of those here is in it, unless blocks were measured for these alone: then it is fitted to 8 of them,
and the error is of the others.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import autovid
from autovid.costs import read_latency_file
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.measure import hardware
from autovid.run import Progress
from autovid.runtimes.sessions import RUNTIMES
from autovid.studies import measure_blocks, network_run, predicted, times_of
from autovid.studies.block_latency import NETWORKS
from autovid.studies.correlation import kendall, spearman


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="tiny")
    parser.add_argument("-n", type=int, default=50)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch")
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    compute = Compute(args.device, args.precision)
    space = autovid.load_space(args.space)
    if args.table:
        archs, file = space.sample(args.n, seed=0), read_latency_file(args.table)
    else:
        drawn = space.sample(args.n + NETWORKS, seed=0)
        archs, fitted = drawn[NETWORKS:], drawn[:NETWORKS]
        with tempfile.TemporaryDirectory() as folder:
            spaces = [arch.as_space() for arch in (*fitted, *archs)]
            file = measure_blocks(
                spaces, Path(folder) / "table.json", compute, repeats=args.repeats, runtime=args.runtime,
                progress=Progress("blocks", sys.stderr),
            )  # fmt: skip
    said = np.array([predicted(arch, file) for arch in archs]) / 1e6
    took = (
        np.array(times_of([network_run(arch, compute, 1, args.runtime) for arch in archs], compute, args.repeats)) / 1e6
    )
    error = np.abs(said / took - 1)
    print(f"# Predicted against measured latency of {args.space}\n")
    print(f"{hardware()}; {args.runtime}, {args.precision}, batch 1\n")
    print(f"{len(archs)} random architectures, {len(file.blocks)} blocks, medians of {args.repeats} repeats.\n")
    print("| | |\n|---|---|")
    print(f"| measured, ms | {took.min():.3f} to {took.max():.3f}, median {np.median(took):.3f} |")
    print(f"| overhead beside the blocks, ms | {(file.overhead or 0) / 1e6:.3f} |")
    print(f"| median error | {100 * np.median(error):.2f} % (target: at most 5 %) |")
    print(f"| largest error | {100 * error.max():.2f} % |")
    print(f"| Spearman's rho | {spearman(said, took):.3f} (target: at least 0.95) |")
    print(f"| Kendall's tau | {kendall(said, took):.3f} |")


if __name__ == "__main__":
    main()
