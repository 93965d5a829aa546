"""Does a supernet of the tiny space rank architectures? Searches, then ranks by `autovid rank`.

Command: python experiments/tiny_rank.py -n 8 --steps 300 --epochs 20 -o runs/tiny_rank     (also with --steps 60)
Hardware: two cores; the processor was not noted
Time: not noted
Result: it did not. The supernet had learned nothing, and all intervals of the table hold 0. That was by an earlier
recipe, whose supernets did not learn; it has not been run since. experiments/proof.py says how those of today rank.

Of the sparse part, whose supernet has learned the longest. A training had 36 steps an epoch on the synthetic videos.
Kendall's tau with 95 % bootstrap intervals, 8 architectures, seed 0:

    steps a part   supernet as it was             batch norm recalibrated
              60   tau  0.49 (-0.05 to 1.00)      tau -0.08 (-0.81 to 0.58)
             300   tau -0.13 (-0.79 to 0.58)      tau -0.27 (-0.76 to 0.25)

With the supernet's weights the architectures reach 4.2 to 8.3 % on val, where chance is 8.3 %; trained alone for 20
epochs 6.3 to 15.6 %. A search of this size is no better than chance (tiny_study.py): the ways to rank are for longer
ones.
"""

import argparse
from pathlib import Path

from autovid.cli import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/tiny_rank"))
    args = parser.parse_args()
    search, ranked = str(args.out / "search"), str(args.out / "rank")
    machine = ["--device", "cpu", "--precision", "fp32"]
    code = main(["search", "--space", "tiny", "--steps", str(args.steps), "-o", search, *machine])
    words = ["rank", search, "-n", str(args.n), "--part", "sparse", "--epochs", str(args.epochs), "-o", ranked]
    raise SystemExit(code or main([*words, *machine]))
