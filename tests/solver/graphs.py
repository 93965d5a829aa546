"""Cost tables to test with: small random ones that can be enumerated, and a big one shaped like `two_stream`."""

import itertools
import math

import numpy as np

from autovid.costs import GFLOPS
from autovid.solver.table import CostTable, Factor


def all_choices(table: CostTable) -> np.ndarray:
    """All choices (N, D)."""
    return np.indices(table.sizes).reshape(len(table.sizes), math.prod(table.sizes)).T


def prior(table: CostTable, rng: np.random.Generator, scale: float = 1.0) -> list[np.ndarray]:
    return [log_softmax(scale * rng.normal(size=n)) for n in table.sizes]


def uniform(table: CostTable) -> list[np.ndarray]:
    return [np.full(n, -math.log(n)) for n in table.sizes]


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def logprobs(logp: list[np.ndarray], choices: np.ndarray) -> np.ndarray:
    return sum(p[choices[:, d]] for d, p in enumerate(logp))


def tie(logp: list[np.ndarray]) -> float:
    """By how much the logarithm of the best found may lie below the largest one.

    Solvers count as equal what differs by 1e-11 of the largest sums (solve.py). That is some 500 times what D <= 170
    additions in float64 lose of such a sum in any order, D * 2**-53 of it.
    """
    return 1e-11 * (1 + sum(float(np.abs(p[np.isfinite(p)]).max()) for p in logp))


def brute_total(table: CostTable, choices: np.ndarray) -> np.ndarray:
    """The definition, in Python integers."""
    return np.array(
        [table.constant + sum(int(f.table[tuple(int(c[d]) for d in f.scope)]) for f in table.factors) for c in choices]
    )


def plain_draws(logp: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws from the prior, whatever they cost, int8 (n, D)."""
    choices = np.zeros((len(logp), n), np.int8)
    for row, p in zip(choices, logp):
        u = rng.random(n)
        for end in np.exp(p).cumsum()[:-1]:
            row += u > end
    return choices.T.copy()


def random_table(rng: np.random.Generator, top: int, decisions: int = 5) -> CostTable:
    """Any structure: factors over 0 to 4 decisions, decisions without a factor, decisions with one candidate."""
    sizes = [int(n) for n in rng.integers(1, 5, decisions)]
    factors = []
    for _ in range(int(rng.integers(1, 8))):
        scope = tuple(int(d) for d in rng.permutation(decisions)[: rng.integers(0, 5)])
        costs = rng.integers(-top // 10, top, [sizes[d] for d in scope])
        factors.append(Factor(scope, np.asarray(costs, np.int64)))
    return CostTable(factors, int(rng.integers(0, top)), sizes)


def chain(rng: np.random.Generator, stages: int, depth: int, top: int, unit: int = 1) -> CostTable:
    """Stages of blocks that share a width; two private decisions a block."""
    sizes: list[int] = []
    factors: list[Factor] = []
    before: tuple[int, ...] = ()
    for _ in range(stages):
        width = len(sizes)
        sizes.append(3)
        for block in range(depth):
            scope = (*(before if block == 0 else ()), width, len(sizes), len(sizes) + 1)
            sizes += [2, 3]
            costs = rng.integers(0, top // unit, [sizes[d] for d in scope]) * unit
            factors.append(Factor(scope, costs))
        before = (width,)
    return CostTable(factors, 7 * unit, sizes, GFLOPS)


def two_stream() -> CostTable:
    """170 decisions and 58 factors with the MACs of a two-stream X3D-like network, 0.66 to 7.9 GFLOPs."""
    sizes: list[int] = []
    factors: list[Factor] = []

    def decide(n: int) -> int:
        sizes.append(n)
        return len(sizes) - 1

    def add(scope: tuple[int, ...], cost) -> None:
        shape = [sizes[d] for d in scope]
        values = [cost(*choice) for choice in itertools.product(*map(range, shape))]
        factors.append(Factor(scope, np.array(values, np.int64).reshape(shape)))

    def block(frames: int, area: int, stride: int, c_in: int, c_out: int, e: int, t: int, k: int) -> int:
        inner = 8 * round(c_in * (1.5, 2.25, 3, 4)[e] / 8)
        shortcut = c_in * c_out if stride > 1 else 0
        depthwise = inner * (1, 3, 5)[t] * (3, 5)[k] ** 2
        return frames * area * (stride**2 * c_in * inner + depthwise + inner * c_out + shortcut)

    def width(base: int, choice: int) -> int:
        return max(8, 8 * round(base * (0.75, 1, 1.25)[choice] / 8))

    sparse, dense = (24, 48, 96, 192), (8, 16, 32, 64)
    last: dict[str, int] = {}

    def stage_of_stream(name: str, bases: tuple[int, ...], frames: int, stage: int, depth: int) -> None:
        area, base, before, here = (40 >> stage) ** 2, bases[stage], bases[max(stage - 1, 0)], decide(3)
        for i in range(depth):
            scope = (here, decide(4), decide(3), decide(2))
            if i == 0 and stage:
                scope = (last[name], *scope)
                add(scope, lambda p, c, *etk: block(frames, area, 2, width(before, p), width(base, c), *etk))
            else:
                add(scope, lambda c, *etk: block(frames, area, 1, width(base, c), width(base, c), *etk))
        last[name] = here

    def joints(stage: int) -> None:
        s, d, area = sparse[stage], dense[stage], (40 >> stage) ** 2
        if stage < 3:
            scope = (last["sparse"], last["dense"], decide(4))
            add(scope, lambda a, b, op: op * 8 * area * width(d, b) * (width(s, a) + 5 * width(d, b) * (op == 1)))
        if stage:
            add((last["sparse"], decide(3)), lambda a, op: op * 16 * area * width(s, a) ** 2)

    for stage, depth in enumerate((3, 5, 11, 7)):
        stage_of_stream("sparse", sparse, 8, stage, depth)
        stage_of_stream("dense", dense, 32, stage, depth)
        joints(stage)
    return CostTable(factors, 31_234_560, sizes, GFLOPS)
