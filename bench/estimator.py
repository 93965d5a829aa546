"""How much of what there is to gain PARSEC's prior finds, by the gradient that it follows: prints Markdown.

    python bench/estimator.py > bench/results/estimator.md
    python bench/estimator.py --seeds 2               # a quick look

A simulation without a supernet: 10 decisions of 3 candidates, whose worths (parts of a held-out log-likelihood) and
costs are drawn at random and add up. K = 13 architectures a step are scored, each with noise of its own, over 300
steps of Adam at the papers' rate. Prior and gradients are autovid's. "Without baseline" is what autovid does with a
number for beta and sampled costs, and for comparison with the exact gradients, which autovid always gives a baseline.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from autovid.search.objective import (
    CostTerm,
    cost_shares,
    expectation_gradient,
    importance,
    in_range_gradient,
    surrogate,
)
from autovid.search.strategies.parsec import Prior
from autovid.solver import CostRange, CostTable, Factor
from autovid.space import load_space
from autovid.space.layout import Decision

DECISIONS, CANDIDATES, K, STEPS, RATE = 10, 3, 13, 300, 0.015
EVERY = np.array(list(itertools.product(range(CANDIDATES), repeat=DECISIONS)), np.int64)
LOADS = ((0.0015, 0.006), (0.05, 0.05))  # s.d. of the worth of architectures, and of the noise of a score
RANGES = ((0.3, 0.4), (0.05, 0.15))  # quantiles of the cost that the range goes from and to
ROWS = (
    ("none", 0.0), ("sampled", 0.3), ("sampled", 2.0), ("exact", 0.3), ("exact", 2.0), ("in-range", 0.3),
    ("in-range", 2.0),
)  # fmt: skip
SPACE = replace(
    load_space("tiny"), decisions=tuple(Decision(f"d{d}", tuple(range(CANDIDATES))) for d in range(DECISIONS))
)
SEED = {  # what this is compared with, for the two loads
    ("none", 0.0, True): (0.94, 1.0), ("sampled", 0.3, True): (0.04, 0.74), ("sampled", 2.0, True): (-0.05, 0.20),
    ("exact", 0.3, True): (0.93, 0.99), ("none", 0.0, False): (None, 0.58),
}  # fmt: skip


class World(NamedTuple):
    """What a seed has drawn: the worth and the cost of every architecture, and the range asked for."""

    worth_N: np.ndarray
    table: CostTable
    ends: CostRange

    @classmethod
    def draw(cls, seed: int, spread: float, quantiles: tuple[float, float]) -> "World":
        """Worths of s.d. `spread`, and a range between two quantiles of the cost."""
        rng = np.random.default_rng(seed)
        worths = rng.normal(size=(DECISIONS, CANDIDATES))
        worth_N = np.sum([one[column] for one, column in zip(worths, EVERY.T)], axis=0)
        costs = rng.integers(10_000, 100_000, (DECISIONS, CANDIDATES))
        table = CostTable([Factor((d,), cost) for d, cost in enumerate(costs)], 0, [CANDIDATES] * DECISIONS)
        low, high = np.quantile(table.total(EVERY), quantiles)
        return cls((worth_N - worth_N.mean()) * spread / worth_N.std(), table, CostRange(int(low), int(high)))

    def share(self, prior: Prior) -> float:
        """The share of the gain that the most probable architecture inside has."""
        inside = self.ends.holds(self.table.total(EVERY))
        logp_N = np.sum([logp[column] for logp, column in zip(prior.log_probs(), EVERY.T)], axis=0)
        worth = self.worth_N[inside]
        return float((worth[int(logp_N[inside].argmax())] - worth.mean()) / (worth.max() - worth.mean()))


def simulate(world: World, seed: int, noise: float, kind: str, beta: float, baseline: bool) -> float:
    """One search; the share of the gain."""
    prior, rng = Prior(SPACE), np.random.default_rng(seed)
    adam = torch.optim.Adam(prior.parameters(), RATE)
    place = CANDIDATES ** np.arange(DECISIONS)[::-1]  # of an architecture in EVERY
    for _ in range(STEPS):
        logp = prior.log_probs()
        choices = np.stack([rng.choice(CANDIDATES, K, p=np.exp(p)) for p in logp], axis=1)
        m_K = importance(torch.from_numpy(world.worth_N[choices @ place] + noise * rng.normal(size=K)))
        sampled = [CostTerm(cost_shares(world.table.total(choices), world.ends), beta)] * (kind == "sampled")
        loss = surrogate(prior.log_prob(torch.from_numpy(choices)), m_K, sampled, control=baseline)
        if kind in ("exact", "in-range"):
            gradient = expectation_gradient if kind == "exact" else in_range_gradient
            loss = loss + beta * prior.along(gradient(world.table, logp, world.ends))
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    return world.share(prior)


def cell(seeds: int, load: int, kind: str, beta: float, baseline: bool, quantiles: tuple[float, float]) -> str:
    """The mean over seeds with its standard error."""
    spread, noise = LOADS[load]
    shares = [simulate(World.draw(seed, spread, quantiles), seed, noise, kind, beta, baseline) for seed in range(seeds)]
    print(".", end="", file=sys.stderr, flush=True)
    return f"{np.mean(shares):.2f} ± {np.std(shares, ddof=1) / seeds**0.5:.2f}"


def target(load: int, kind: str, beta: float, baseline: bool) -> str:
    """The earlier figure, where there is one."""
    figure = SEED.get((kind, beta, baseline), (None, None))[load]
    return "" if figure is None else f"{figure:.2f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    seeds = parser.parse_args().seeds
    names = [f"{quantiles[0]:.0%} to {quantiles[1]:.0%}" for quantiles in RANGES]
    print(f"""# The estimator of the prior's gradient

Command: `python bench/estimator.py --seeds {seeds}`. A simulation, so the machine does not matter.

The share of the attainable gain that the search finds: what the most probable architecture inside the range has more
than the mean of those inside, of what the best one has more. Means over {seeds} seeds, with standard errors. "Target"
is an earlier simulation's figure, whose worlds were drawn otherwise. The range goes from one quantile of the cost of
all architectures to another.

What it says: the exact gradient with a small β keeps what accuracy says, the sampled one buries it, and without a
baseline the noise alone moves the prior. `in-range` finds little where architectures differ little: we think because
its pull ends only when the prior is sure of one architecture, and any one inside the range will do.""")
    for load, (spread, noise) in enumerate(LOADS):
        print(f"\n## Architectures differ by a s.d. of {spread:g}, scores have noise of {noise:g}\n")
        print(f"| cost term | β | baseline | {' | '.join(f'range {name}' for name in names)} | target |")
        print("|---|---|---|" + "---|" * (len(RANGES) + 1))
        for baseline in (True, False):
            for kind, beta in ROWS:
                ranges = RANGES if baseline else RANGES[:1]
                cells = [cell(seeds, load, kind, beta, baseline, quantiles) for quantiles in ranges]
                cells += [""] * (len(RANGES) - len(ranges))
                row = [kind, f"{beta:g}", "yes" if baseline else "no", *cells, target(load, kind, beta, baseline)]
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
