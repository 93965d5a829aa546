"""Does a supernet of the tiny space rank architectures? Searches, then ranks by `autovid rank`.

    python experiments/tiny_rank.py [-n 8] [--steps 60] [--epochs 20] [-o runs/tiny_rank]

Of the sparse part, whose supernet has learned the longest. One training is 36 steps an epoch on the synthetic videos;
not yet run to its end, so that there is no outcome to report here. Expect little: a search of this size is no better
than chance (tiny_study.py).
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
