"""What the rows of the tabular benchmark say so far: do two seeds agree, and do architectures differ?

    python bench/table_figures.py

Over the architectures within 3 % of 2.56 million MACs that have two seeds, and over all that have: the rank
correlation of the seeds, the inter-quartile range of the mean accuracy, how far the seeds of one architecture differ,
and Kendall's tau of MACs, of parameters and of the synaptic flow alone to the mean accuracy. In parentheses 95 %
intervals of a bootstrap over architectures. Wanted near one cost: a correlation of 0.8 or more, and a range of 3 points
or more.
"""

from collections import defaultdict
from functools import cache

import numpy as np
from table import CENTRE, SPREAD, candidate_numbers, trained

from autovid.space import load_space
from autovid.studies.correlation import Statistic, interval, kendall, spearman, spoken
from autovid.studies.zero_cost import synaptic_flow


def figures(rows: list[dict[str, str]]) -> list[str]:
    """Lines about the architectures that have two seeds."""
    by_number: dict[int, list[dict[str, str]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        by_number[int(row["index"])].append(row)
    pairs = [pair[:2] for pair in by_number.values() if len(pair) > 1]
    if len(pairs) < 2:
        return [f"{len(pairs)} architectures with two seeds: nothing to say yet"]
    columns = {key: np.array([[float(row[key]) for row in pair] for pair in pairs]) for key in rows[0] if key != "hash"}
    accuracy, loss = 100 * columns["accuracy"], columns["loss"]
    mean, low_high = accuracy.mean(1), np.percentile(accuracy.mean(1), [25, 75])
    deviation = np.abs(accuracy[:, 0] - accuracy[:, 1]).mean() / np.sqrt(2)
    return [
        f"{len(pairs)} architectures with two seeds; {columns['seconds'].mean():.0f} s of processor a training",
        f"seed to seed: {_spoken('accuracy, Spearman', spearman, *accuracy.T)}",
        f"seed to seed: {_spoken('loss, Spearman', spearman, *loss.T)}",
        f"mean accuracy: median {np.median(mean):.1f} %, quartiles {low_high[0]:.1f} and {low_high[1]:.1f} %, "
        f"range between them {low_high[1] - low_high[0]:.1f} points",
        f"seeds of one architecture: mean s.d. {deviation:.1f} points",
        f"MACs alone: {_spoken('Kendall', kendall, columns['macs'][:, 0], mean)}",
        f"parameters alone: {_spoken('Kendall', kendall, columns['params'][:, 0], mean)}",
        f"synaptic flow alone: {_spoken('Kendall', kendall, columns['synaptic_flow'][:, 0], mean)}",
    ]


def _spoken(name: str, statistic: Statistic, x: np.ndarray, y: np.ndarray) -> str:
    return spoken(name, statistic(x, y), interval(statistic, x, y))


def main() -> None:
    """Print the figures."""
    space = load_space("bench")
    numbers = candidate_numbers(space)
    flow = cache(lambda number: str(synaptic_flow(space.architecture(numbers[number]))))
    rows = [row | {"synaptic_flow": flow(int(row["index"]))} for row in trained().values()]
    near = [row for row in rows if abs(int(row["macs"]) - CENTRE) <= SPREAD * CENTRE]
    for title, some in (("within 3 % of 2.56 million MACs", near), ("all", rows)):
        print(f"{title}:\n  " + "\n  ".join(figures(some)))


if __name__ == "__main__":
    main()
