"""What does the coefficient of the cost term do? The betas of the papers' table, on the benchmark's space.

Command: python experiments/cost_coefficient.py DATA/bench.csv -o runs/beta --seeds 1
After: autovid data synthetic bench -o DATA
Hardware: one core of an AMD EPYC (AVX-512), with other programs beside it
Time: 2 to 3 minutes a search, nine searches
Result: million MACs of the prior with the sampled gradient 2.56, 2.15, 2.15 and 2.14 for beta 0, 0.05, 0.1 and 0.2, and
2.11 with `auto`; with the exact one 2.24, 2.16 and 2.20 for 0.05, 0.1 and 0.2, and 2.32 with `auto`, whose most
probable architecture has 2.13. The range is 2.1 to 2.2. So with the sampled gradient MACs fall from 0 to 0.05 and stay
there; with the exact one they show no order. One seed.

The papers' table (supplement, Table 1): the FLOPs of what the prior prefers fall as beta rises, 2.76, 1.93, 1.56 and
1.39 GFLOPs with beta 0, 0.05, 0.1 and 0.2, for a range of 1.37 to 1.43. Here the space is `bench`, of which the mean
architecture has 2.68 million MACs, and the range 2.1 to 2.2 million. Weights learn as in the space's proxy, one
architecture an update, half of them uniform; alpha, as in the papers, from 13 draws of the prior after a quarter of
each part, at every other update. The joint phase, which draws inside the range, has one step. Each beta is searched
with the sampled gradient of the cost, which for a number is the papers' and for `auto` has our control variate, and
with the exact one. With 0 both are the same search.

- expected: the mean MACs of the prior at the end, in millions
- preferred: the MACs of its most probable architecture, in the range or not, as `derive RUN --no-range` gives it
- inside: the probability of the range
- right: the share of 512 clips of val that the supernet knows with the preferred one

Each search goes on where it stopped; what is done is read again.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from proof import every_architecture, flops, supernet_scores

import autovid
from autovid.space import load_space

RANGE = (2_100_000, 2_200_000)  # MACs
SEARCHES = {"sampled": (0, 0.05, 0.1, 0.2, "auto"), "exact": (0.05, 0.1, 0.2, "auto")}
STEPS = {"sparse": 240, "dense": 600, "attention": 360, "joint": 1}
FIGURES = {"expected": "expected_gflops", "preferred": "top_gflops", "inside": "p_in_range"}


def row(index: Path, out: Path, beta: float | str, gradient: str, seed: int) -> dict[str, Any]:
    """Search with a coefficient and a gradient, and return what its prior has come to."""
    space = load_space("bench")
    run = autovid.search(
        space, flops(RANGE), data=index, out=out, recipe="proxy", seed=seed, device="cpu", precision="fp32",
        resume=out.is_dir(), steps=STEPS, choice={"candidates": 0}, alpha_every=2,
        options={"beta": beta, "cost_gradient": gradient, "open_prior": "quarter", "samples": 13, "in_range": False},
    )  # fmt: skip
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if "top_gflops" in record][-1]
    preferred = run.derive(no_range=True)
    rows, _ = every_architecture(space)
    number = [space.architecture(one).hash for one in rows].index(preferred.hash)
    _, right = supernet_scores(run.path, rows[number : number + 1])
    figures = {name: last[key] for name, key in FIGURES.items()}
    return {"beta": beta, "gradient": gradient, "seed": seed, **figures, "right": 100 * float(np.mean(right))}


def main() -> None:
    """Run what is left, and print a table of what is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="the index that `autovid data synthetic bench` has written")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/beta"))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the searches (default: 3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    done: dict[tuple[str, float | str], list[dict[str, Any]]] = {}
    for seed in range(args.seeds):
        for gradient, betas in SEARCHES.items():
            for beta in betas:
                file = args.out / f"{gradient}-{beta}-{seed}.json"
                if not file.exists():
                    result = row(args.index, args.out / file.stem, beta, gradient, seed)
                    file.write_text(json.dumps(result) + "\n")
                done.setdefault((gradient, beta), []).append(json.loads(file.read_text()))
                print(file.read_text(), end="", flush=True)
    print("\n| Gradient | beta | Expected | Preferred | Inside | Right |\n|---|---:|---:|---:|---:|---:|")
    for (gradient, beta), rows in done.items():
        means = {key: statistics.fmean(one[key] for one in rows) for key in (*FIGURES, "right")}
        macs = f"{1e3 * means['expected']:.2f} | {1e3 * means['preferred']:.2f}"
        print(f"| {gradient} | {beta} | {macs} | {means['inside']:.2f} | {means['right']:.0f} % |")


if __name__ == "__main__":
    main()
