"""Three questions about the search, asked on the tiny space and the synthetic videos.

    python experiments/tiny_study.py beta [--steps 60]        what the weight of the FLOPs term does
    python experiments/tiny_study.py table                    the paper's Table 1, each row a whole search
    python experiments/tiny_study.py baseline [-n 6]          is what is searched better than what is drawn at random

Paper: Gong et al., "Searching for two-stream models in multivariate space for video recognition" (2021),
    arXiv:2108.12957, supplement, section 1.2 and Table 1: beta 0 -> 2.76, 0.05 -> 1.93, 0.1 -> 1.56, 0.2 -> 1.39 GFLOPs
    against a range of 1.37 to 1.43; docs/papers.md#parsec

MACs as autovid counts them, at 16 frames of 32x32 and 12 classes.

Command: python experiments/tiny_study.py beta --steps 40
Hardware: 2 cores, AVX2; torch 2.13
Time: 2 minutes
Result: the expected FLOPs fall as in the paper, and auto ends inside the range of 2.8 to 3.0 MFLOPs.

Table 1 for the sparse stream alone: where the prior stands at the end of the part, before anything is solved.

| beta | expected MFLOPs | top MFLOPs | P(in range) | beta at the end |
|---|---|---|---|---|
| 0    | 3.265 | 2.813 | 0.132 | 0     |
| 0.05 | 3.068 | 2.490 | 0.145 | 0.05  |
| 0.1  | 2.955 | 2.490 | 0.146 | 0.1   |
| 0.2  | 2.786 | 2.663 | 0.132 | 0.2   |
| auto | 2.846 | - | 0.136 | 2.192 |

The single most probable architecture ("top") does not fall evenly: after 40 steps the prior is still wide.

Command: python experiments/tiny_study.py table --steps 30
Hardware: one thread on 2 cores of an AMD EPYC with AVX-512; torch 2.13
Time: 3:51 minutes of processor time
Result: the printed column falls as in the paper, but does not come near the range of 5.5 to 6 MFLOPs.

A uniform prior expects 10.1 MFLOPs.

| beta | range | MFLOPs of the most probable (`derive --no-range`) | of the most probable in the range |
|---|---|---|---|
| 0    | -        | 10.913 | 10.913 |
| 0.05 | 5.5 to 6 | 8.229  | 5.655 |
| 0.1  | 5.5 to 6 | 8.187  | 5.652 |
| 0.2  | 5.5 to 6 | 7.722  | 5.655 |

30 steps a part are few, and what a part takes is solved into its share of the range, so that later parts see fewer
FLOPs than the prior of earlier ones prefers. In all four the supernet is at chance in every part (held-out loss 2.48 to
2.52, chance 2.485): the table shows the FLOPs term at work and nothing about accuracy.

Command: python experiments/tiny_study.py baseline -n 4        (stopped after 3 of the 4)
Hardware: 1 thread; the processor was not noted
Time: not noted
Result: top-1 17.4 % (s.d. 10.7, best 29.2) for the random ones, 14.6 % for the searched one; chance is 8.3 %.

Searches once, draws n architectures from the same range, 7.5 to 8 MFLOPs, trains all of them alike for 30 epochs. This
proxy search of 90 steps is no better than chance draws from the range: a disappointment, on 48 videos and one seed.
"""

import argparse
from pathlib import Path

from autovid.data import VideoSet, open_videos
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.run import seed_step
from autovid.search import parse_constraints, settings_for
from autovid.search.run import supernet_search
from autovid.space import load_space

RANGE = "0.0028:0.0030"  # GFLOPs of the sparse stream, where a uniform prior expects 0.00385
WHOLE = "0.0055:0.006"  # GFLOPs of the whole network, where a uniform prior expects 0.0101
LITERAL = {  # as the paper
    "archs_per_update": 13, "alpha_every": 1, "schedule": "cosine", "norm_start": 0.0, "cost_gradient": "sampled",
    "open_prior": "quarter",
}  # fmt: skip
BETAS: tuple[float | str, ...] = (0.0, 0.05, 0.1, 0.2, "auto")


def search_sparse(videos: VideoSet, beta: float | str, steps: int, seed: int = 0, batch: int = 8) -> dict[str, float]:
    """The sparse part of a search on `tiny`; the metrics of its last step."""
    space = load_space("tiny")
    settings = settings_for(
        space, proxy=True, videos=len(videos.train), steps=steps, beta=beta, seed=seed, batch=batch, arch_lr=0.1,
        **LITERAL,
    )  # fmt: skip
    constraints = parse_constraints(space, {"flops": f"sparse={RANGE}"})
    task = supernet_search(space, videos, settings, Compute("cpu", "fp32"), constraints)
    metrics: dict[str, float] = {}
    for index in range(settings.end(0)):
        seed_step(seed, index)
        metrics = task.step(index)
    return metrics


def beta_table(steps: int, seeds: int) -> None:
    videos = open_videos("synthetic")
    print(f"range {RANGE} GFLOPs, {steps} steps")
    print("| beta | expected MFLOPs | top MFLOPs | P(in range) | beta at the end |")
    for beta in BETAS:
        for seed in range(seeds):
            end = search_sparse(videos, beta, steps, seed)
            figures = [end["expected_gflops"] * 1e3, end["top_gflops"] * 1e3, end["p_in_range"], end["beta"]]
            print(f"| {beta} | " + " | ".join(f"{value:.3f}" for value in figures) + " |", flush=True)


def table(steps: int, out: Path) -> None:
    """Table 1, row by row: a search, then what its prior prefers, in the range or not (derive --no-range)."""
    from autovid.cli import main
    from autovid.space import load_architecture

    rows = []
    for beta in (0.0, 0.05, 0.1, 0.2):
        run = out / f"beta_{beta:g}"
        flops = ["--flops", WHOLE] if beta else []
        literal = ["--cost-gradient", "sampled", "--open-prior", "quarter", "--archs-per-update", "13"]
        literal += ["--alpha-every", "1", "--set", "choice.candidates=0"]
        main(
            ["search", "--space", "tiny", "--beta", str(beta), "--steps", str(steps), *literal, *flops, "-o", str(run)]
        )
        main(["derive", str(run), "--no-range"])
        prefers, inside = (load_architecture(run / f"architecture{what}.yaml") for what in ("-no-range", ""))
        whole_range = WHOLE if beta else "-"
        rows.append(f"| {beta:g} | {whole_range} | {prefers.macs() / 1e6:.3f} | {inside.macs() / 1e6:.3f} |")
    print("| beta | range (G) | MFLOPs of the most probable | of the most probable in the range |", *rows, sep="\n")


def baseline(n: int, out: Path) -> None:
    from autovid.cli import main

    flops, searched = ["--flops", "0.0075:0.008"], str(out / "search")
    main(["search", "--space", "tiny", *flops, "-o", searched])
    main(["random-baseline", "--searched", searched, *flops, "-n", str(n), "-o", str(out / "random")])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["beta", "table", "baseline"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("-n", type=int, default=6)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/tiny_study"))
    args = parser.parse_args()
    keep_memory()
    if args.what == "beta":
        beta_table(args.steps, args.seeds)
    elif args.what == "table":
        table(args.steps, args.out)
    else:
        baseline(args.n, args.out)
