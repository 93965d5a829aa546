"""Is what a search of two_stream finds better than random networks of its cost? Trains it and eight others, all alike.

Command: python experiments/two_stream_proof.py runs/search-two_stream -o runs/two-stream-proof
After: make search
Hardware: one thread of an AMD EPYC (AVX-512), beside other work
Time: 5 to 6 minutes a training, nine trainings
Result: the found one is right on 86.3 %, the eight random ones on 24.4 to 52.7 % (mean 37.4 %): the first of nine.
Another search, with seed 1, found 49.5 %: the second of nine. One seed of the trainings.
With an earlier embedded set of 288 videos, two searches had found 35.2 %, the fourth of nine, and 41.8 %, the first.

All nine cost 1.37 to 1.43 GFLOPs at 32 frames of 160 x 160, and are trained on the embedded videos at proxy scale: 16
frames of 32 x 32, batches of 32, AdamW, 40 epochs, from one seed. Then all are judged by 960 new videos of the same
kind, 80 of a class. Under chance the place of the found one among the nine is uniform. Each training goes on where it
stopped; what is done is read again. So another search, of the same range, trains its own network alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import autovid
from autovid.api import SearchRun
from autovid.data.synthetic import SyntheticRecipe, write_synthetic
from autovid.search import read_search
from autovid.search.constraints import final_constraints
from autovid.search.problem import whole_problem
from autovid.space import Architecture

RIVALS = 8
JUDGED = SyntheticRecipe(train=1, val=80, seed=1)
RECIPE: dict[str, Any] = {"recipe": "proxy", "batch": 32, "epochs": 40, "optimizer": "adamw", "lr": 0.006}


def networks(run: Path) -> list[Architecture]:
    """Return what a search has found, and random ones inside its constraints."""
    searched = read_search(run)
    problem = whole_problem(searched.space, final_constraints(searched.constraints, searched.space))
    rows = problem.sample(RIVALS, np.random.default_rng((*b"two_stream", 0)), distinct=True)
    return [SearchRun(run).derive(), *(searched.space.architecture(row) for row in rows)]


def accuracy(arch: Architecture, out: Path, videos: Path, seed: int) -> float:
    """Train a network, or go on with it, and return its accuracy on the videos, in percent."""
    trained = autovid.train(arch, out=out, resume=out.is_dir(), seed=seed, validate_every=0, device="cpu", **RECIPE)
    return autovid.evaluate(trained, data=videos, device="cpu").top1


def main() -> None:
    """Train what is left, print each, and the place of the found one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", type=Path, help="the run of `make search`")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/two-stream-proof"))
    parser.add_argument("--seed", type=int, default=0, help="of the trainings (default: 0)")
    args = parser.parse_args()
    videos = args.out / "videos"
    if not videos.is_dir():
        write_synthetic(videos, JUDGED)
    right: list[float] = []
    for number, arch in enumerate(networks(args.search)):
        file = args.out / f"{arch.hash}-{args.seed}.json"
        if not file.exists():
            file.write_text(json.dumps(accuracy(arch, args.out / f"{arch.hash}-{args.seed}", videos, args.seed)))
        right.append(json.loads(file.read_text()))
        name = f"random {number}" if number else "found"
        print(f"{name:9} {arch.hash}  {arch.macs() / 1e9:.3f} GFLOPs  {right[-1]:.1f} %", flush=True)
    print(f"the found one is number {1 + sum(one > right[0] for one in right[1:])} of {len(right)}")


if __name__ == "__main__":
    main()
