"""Does a search find better architectures than chance? Searches the benchmark's space; the table says what it found.

Command: python experiments/proof.py DATA/bench.csv -o runs/proof     (after: autovid data synthetic bench -o DATA)
Hardware: not run
Time: not run
Result: not run

Every architecture of `search_spaces/bench.yaml` that the table holds was trained alone, with two seeds or three
(bench/table.py), on the videos that the searches learn from. So nothing is trained here but supernets:

- choice: three seeds search two ranges of cost. Each found architecture is compared with 16 random ones of its range,
  by the mean loss of the trainings alone. Under chance its place among the 17 is uniform; p is the probability that
  the sum of the six places is as small.
- ranking: a search of each seed over both ranges together. Kendall's tau between the supernet's losses on val of all
  architectures of the band and their mean losses alone; beside it tau of MACs, of parameters and of the synaptic flow,
  of seed against seed, and the most that a ranking can expect to reach with the noise that the table's seeds have.

Each search goes on where it stopped; what is done is read again. The figures are printed, and written as proof.json.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import autovid
from autovid.api import SearchRun
from autovid.data.frame_cache import choose_cache
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.search import read_search
from autovid.search.choice import Judge
from autovid.search.derivation import parameters
from autovid.search.supernet import Supernet
from autovid.space import Architecture, load_space
from autovid.studies.correlation import interval, kendall, spoken
from autovid.studies.tabular import TableEvaluator
from autovid.studies.zero_cost import synaptic_flow
from autovid.train.inherited import open_supernet_weights

BAND = (2_483_200, 2_636_800)  # MACs: 3 % either side of 2.56 million
RANGES = ((2_483_200, 2_560_000), (2_560_000, 2_636_800))
RANDOM = 16


class Trained:
    """The architectures of a table within a range of MACs, and what their trainings came to."""

    def __init__(self, table: TableEvaluator, low: int, high: int) -> None:
        space = load_space(table.file.space)
        rows = np.stack(np.unravel_index(np.arange(space.size), space.sizes), axis=1)
        macs = space.cost_table().macs(rows)
        inside = (low <= macs) & (macs <= high)
        self.rows: NDArray[np.int64] = rows[inside]
        self.macs: NDArray[np.int64] = macs[inside]
        self.archs: list[Architecture] = [space.architecture(row) for row in self.rows]
        entries = [table.look_up(arch) for arch in self.archs]  # ConfigError where one is missing
        self.loss = [np.array(entry.loss) for entry in entries]  # of each seed
        self.accuracy = np.array([np.mean(entry.correct) / table.file.clips for entry in entries])
        self.mean_loss = np.array([loss.mean() for loss in self.loss])

    def number(self, arch: Architecture) -> int:
        """The row of an architecture."""
        return [one.hash for one in self.archs].index(arch.hash)


def place(found: int, others: Sequence[int], loss: NDArray[np.float64]) -> float:
    """The place of one among others by rising loss: 1 for the best; half places for ties."""
    values = loss[list(others)]
    return 1 + float((values < loss[found]).sum() + 0.5 * (values == loss[found]).sum())


def chance_of(places: Sequence[float], field: int) -> float:
    """The probability that places drawn uniformly from 1 .. `field` have a sum as small, by convolution."""
    ways = np.ones(1)
    for _ in places:
        ways = np.convolve(ways, np.full(field, 1 / field))  # the sum, less one for each place
    return float(ways[: int(np.floor(sum(places))) - len(places) + 1].sum())


def ceiling(loss: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> float:
    """The tau that the true means would have with the table's, if the noise of its seeds is normal and alike.

    The true means are taken to vary as the table's do, less the noise.
    """
    means, seeds = np.array([one.mean() for one in loss]), min(map(len, loss))
    noise = np.mean([one.var(ddof=1) for one in loss]) / seeds
    true = means.mean() + (means - means.mean()) * np.sqrt(max(0.0, 1 - noise / means.var(ddof=1)))
    taus = [kendall(true, true + rng.normal(0, np.sqrt(noise), len(true))) for _ in range(500)]
    return float(np.mean(taus))


def search(index: Path, out: Path, macs: tuple[int, int], seed: int, steps: int | None) -> SearchRun:
    """Search a range of MACs, or go on with it; by the space's own proxy, or in `steps` a part."""
    changes: dict[str, Any] = {} if steps is None else {"steps": steps}
    return autovid.search(
        "bench", {"flops": f"{macs[0] / 1e9}:{macs[1] / 1e9}"}, data=index, out=out, recipe="proxy", seed=seed,
        device="cpu", precision="fp32", resume=out.is_dir(), **changes,
    )  # fmt: skip


def supernet_losses(run: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean losses on val of architectures (K, D), with the weights of a search and norms of their own."""
    searched, weights = read_search(run), open_supernet_weights(run)
    videos, compute = weights.open_videos(None), Compute("cpu", "fp32")
    frames = choose_cache("auto", (*videos.train, *videos.val), videos.root)
    with closing(Supernet(searched.space, videos, searched.settings, compute, 0, None, frames)) as supernet:
        supernet.net.load_state_dict(weights.net.state_dict())
        judge = Judge(supernet, searched.space, rows, supernet.choice.calibration)
        with closing(supernet.validation(videos)) as loader:
            loss_KN, _ = judge.judge(loader.views_batches(), range(len(rows)))
    mean: NDArray[np.float64] = loss_KN.mean(1)
    return mean


def compared(trained: Trained, found: int, others: Sequence[int], drawn: Sequence[int]) -> dict[str, Any]:
    """Compare a found architecture with all others of its range, and with those of them that were drawn."""
    loss, accuracy = trained.mean_loss, trained.accuracy
    return {
        "hash": trained.archs[found].hash,
        "loss": round(float(loss[found]), 4),
        "accuracy": round(float(accuracy[found]), 4),
        "place_among_17": place(found, drawn, loss),
        "place_in_range": place(found, others, loss),
        "in_range": len(loss),
        "random_mean_loss": round(float(loss[list(drawn)].mean()), 4),
        "random_mean_accuracy": round(float(accuracy[list(drawn)].mean()), 4),
    }


def choice(index: Path, out: Path, table: TableEvaluator, seeds: int, steps: int | None) -> dict[str, Any]:
    """Compare what searches find with random architectures of the same range."""
    results: list[dict[str, Any]] = []
    for number, macs in enumerate(RANGES):
        trained = Trained(table, *macs)
        for seed in range(seeds):
            run = search(index, out / f"choice-{number}-{seed}", macs, seed, steps)
            found = trained.number(run.derive())
            others = [i for i in range(len(trained.archs)) if i != found]
            drawn = np.random.default_rng((number, seed)).choice(others, RANDOM, replace=False).tolist()
            results.append({"macs": list(macs), "seed": seed} | compared(trained, found, others, drawn))
            print(json.dumps(results[-1]), flush=True)
    p = chance_of([result["place_among_17"] for result in results], RANDOM + 1)
    return {"comparisons": results, "p": p}


def ranking(index: Path, out: Path, table: TableEvaluator, seeds: int, steps: int | None) -> dict[str, Any]:
    """Correlate the supernet's losses with the table's."""
    trained = Trained(table, *BAND)
    figures = {
        "MACs": trained.macs,
        "parameters": np.array([parameters(arch) for arch in trained.archs]),
        "synaptic flow": np.array([synaptic_flow(arch) for arch in trained.archs]),
    }
    loss = trained.mean_loss
    lines = [spoken(name, kendall(-x, loss), interval(kendall, -x, loss)) for name, x in figures.items()]
    pairs = np.array([loss[:2] for loss in trained.loss]).T
    lines.append(spoken("seed against seed", kendall(*pairs), interval(kendall, *pairs)))
    lines.append(f"ceiling by the noise of the table {ceiling(trained.loss, np.random.default_rng(0)):.2f}")
    taus = []
    for seed in range(seeds):
        run = search(index, out / f"ranking-{seed}", BAND, seed, steps)
        seen = supernet_losses(run.path, trained.rows)
        taus.append(kendall(seen, loss))
        lines.append(spoken(f"supernet, seed {seed}", taus[-1], interval(kendall, seen, loss)))
    print("\n".join(lines), flush=True)
    return {"architectures": len(trained.archs), "tau": taus, "lines": lines}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {"choice": choice, "ranking": ranking}


def main() -> int:
    """Run the parts that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="the index that `autovid data synthetic bench` has written")
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/proof"))
    parser.add_argument("--part", choices=PARTS, action="append", help="one part alone; can be given again")
    parser.add_argument("--table", default="bench", help="the table (default: bench)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the searches (default: 3)")
    parser.add_argument("--steps", type=int, help="of each part of a search (default: the space's proxy)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "proof.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    try:
        table = autovid.load_benchmark(args.table)
        for part in args.part or PARTS:
            results[part] = PARTS[part](args.index, args.out, table, args.seeds, args.steps)
            file.write_text(json.dumps(results, indent=1) + "\n")
    except ConfigError as error:
        print(f"proof: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
