"""A range of latency in a search: each part's share of it, its cost term, and the choice at the end of a part. Ours.

The term is that of the FLOPs, with a coefficient of its own. The shares that the space's file gives are of FLOPs, so a
part may use of the latency what it has used on average in architectures drawn uniformly from all ranges. What a part
chooses leaves the later ones a way into the ranges of the finished network: see `choose_timely`.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from autovid.costs import LatencyRange
from autovid.errors import CostRangeError
from autovid.search.derive import Searched, limits_of
from autovid.search.feasibility import LOOKAHEAD, NATURAL, Room, decided, fixed_cost, in_part, uniform
from autovid.search.objective import Beta, cost_shares, cost_term
from autovid.search.part_targets import Target
from autovid.solver import CostRange, CostTable, Limit, most_probable_within, sample_within
from autovid.solver.distribution import probability_in_range
from autovid.solver.several_constraints import likely_within
from autovid.space import Architecture, SearchSpace
from autovid.space.decisions import is_searched_in

DRAWS = 256  # whole networks that a part chooses among, twice
LOG_DRAWS = 4096  # for P(in range) of two ranges in the log: off by 0.008 at most, as a standard error


def latency_of_parts(space: SearchSpace, target: Target, latency: LatencyRange) -> list[CostRange]:
    """The range of the network as it stands at the end of each part; the last one is the whole range.

    Raises CostRangeError where the ranges of FLOPs and of latency cannot be met together.
    """
    flops, whole = target.final(space), latency.of(space)
    limits = [*([Limit(space.cost_table(), flops)] if flops else []), whole]
    try:
        rows = sample_within(limits, uniform(whole.table), NATURAL, np.random.default_rng(0))
    except CostRangeError as error:
        raise CostRangeError(f"--latency: {error}") from None
    archs, total = [space.architecture(row) for row in rows], whole.table.total(rows)
    ranges = []
    for number in range(len(space.parts) - 1):
        there, kept = in_part(space, number, archs)
        mean = float(np.mean(latency.of(there).table.total(there.index(kept)) / total))
        ranges.append(whole.range.share(round(mean, 2)))
    return [*ranges, whole.range]


def latencies_of(found: Searched) -> list[CostRange]:
    """The same ranges of a search that is done, or stands somewhere; empty where it has none."""
    return latency_of_parts(found.space, found.target, found.latency) if found.latency else []


class LatencyTerm:
    """The latency of one part's space, its range there, and the coefficient of its term."""

    def __init__(self, there: SearchSpace, latency: LatencyRange, wanted: CostRange, beta: float | str) -> None:
        self.limit = Limit(latency.of(there).table, wanted)
        self.beta = Beta(beta)

    @property
    def table(self) -> CostTable:
        return self.limit.table

    @property
    def aim(self) -> CostRange:
        """What the term pushes towards; see Beta."""
        return self.limit.range.middle() if self.beta.auto else self.limit.range

    def loss(self, logprob_K: Tensor, archs_KD: Tensor, conditioned: bool = False) -> Tensor:
        """The term, to be added to the surrogate of the prior; `conditioned` as there."""
        n_K = cost_shares(self.table.total(archs_KD.numpy()), self.aim)
        return cost_term(logprob_K, n_K, self.beta.value, conditioned, self.beta.auto)

    def update(self, log_probs: Sequence[np.ndarray]) -> None:
        """A step of the coefficient, where it is `auto`."""
        self.beta.update(self.expected(log_probs), self.aim)

    def expected(self, log_probs: Sequence[np.ndarray]) -> float:
        """The mean latency under a prior, in nanoseconds."""
        return self.table.expected([np.exp(logp) for logp in log_probs])

    def metrics(self, log_probs: Sequence[np.ndarray]) -> dict[str, float]:
        """For the log."""
        return {"expected_latency_ms": self.expected(log_probs) / 1e6, "latency_beta": self.beta.value}


def can_be_met(limits: Sequence[Limit]) -> bool:
    """Whether an architecture lies inside all of them; with two, one is found or, in bounded time, is not."""
    try:
        sample_within(limits, uniform(limits[0].table), 1, np.random.default_rng(0))
    except CostRangeError:
        return False
    return True


def to_draw_from(limits: Sequence[Limit]) -> list[Limit]:
    """The limits of a part if they can be met together, else the first one, of FLOPs: its share of latency is ours."""
    return list(limits if len(limits) < 2 or can_be_met(limits) else limits[:1])


def probability_within(limits: Sequence[Limit], log_probs: Sequence[np.ndarray], bins: int) -> float:
    """P(inside all ranges) under a prior; of two it is the share of LOG_DRAWS draws, the same for equal priors."""
    if len(limits) == 1:
        return probability_in_range(limits[0].table, log_probs, *limits[0].range, bins=bins).value
    rng = np.random.default_rng(0)
    columns = [(rng.random((LOG_DRAWS, 1)) > np.exp(logp).cumsum()[:-1]).sum(axis=1) for logp in log_probs]
    return float(_inside(limits, np.stack(columns, axis=1)).all(axis=0).mean())


def _inside(limits: Sequence[Limit], rows: np.ndarray) -> np.ndarray:
    """bool (limits, N): which ranges the architectures with choices `rows` (N, D) lie in."""
    costs = [limit.table.total(rows) for limit in limits]
    return np.stack([(cost >= limit.range.low) & (cost <= limit.range.high) for cost, limit in zip(costs, limits)])


def choose_timely(
    space: SearchSpace,
    number: int,
    there: SearchSpace,
    log_probs: Sequence[np.ndarray],
    target: Target,
    latency: LatencyRange,
    own: Sequence[Limit],
) -> Architecture | None:
    """What part `number` takes: probable, inside its ranges `own`, and with a way into those of the finished network.

    `space` has what earlier parts chose fixed, `there` is the part's space, `log_probs` its prior. None where nothing
    is found that the later parts could bring into the ranges of FLOPs and of latency at once.

    The most probable architecture inside `own` is taken if a way is found for it: then it is the best there is (but
    for the solver's `gap`). Where none is found (for two ranges: in bounded time), whole networks are drawn from the
    final ranges, the part's decisions by its prior, later ones uniformly: each draw is a way for what it begins with.
    The most probable of those inside the part's ranges is taken, or failing that inside its range of FLOPs; where no
    draw is, some of the part's own range of FLOPs are asked for a way; and then any draw will do. So what is taken
    need not be the most probable that has a way. Whether later parts meet ranges of their own on that way is asked of
    the FLOPs alone (see Room).
    """
    room, final = Room(space, target), _final(space, target, latency)

    def has_way(arch: Architecture) -> bool:
        if not _leaves_room(room, number, there, arch):
            return False
        return can_be_met(_final(space.fix(decided(space, number, arch)), target, latency))

    best = _best(there, own, log_probs)
    if best is not None and has_way(best):
        return best
    rows = _drawn(space, number, there, log_probs, final)
    outside = ~_inside(own, rows)
    rows = _ranked(rows, log_probs, *outside[::-1])  # by the range of FLOPs first, then by that of latency
    archs = [there.architecture(row) for row in rows[:LOOKAHEAD]]
    if target.of(space, number) is None:
        return next(iter(archs), None)
    flops = own[0].range
    for arch in archs:
        if flops.low <= there.cost_table().macs([arch])[0] <= flops.high and _leaves_room(room, number, there, arch):
            return arch
    more = _ranked(likely_within(own[:1], log_probs, DRAWS), log_probs)[:LOOKAHEAD]
    return next((arch for arch in map(there.architecture, more) if has_way(arch)), next(iter(archs), None))


def _ranked(rows: np.ndarray, log_probs: Sequence[np.ndarray], *before: np.ndarray) -> np.ndarray:
    """Choices (N, D) in falling order of probability; of the keys (N,) that come `before` it the last counts most."""
    logprob_N = np.sum([logp[column] for logp, column in zip(log_probs, rows.T)], axis=0)
    return np.asarray(rows[np.lexsort([-logprob_N, *before])])


def _final(space: SearchSpace, target: Target, latency: LatencyRange) -> list[Limit]:
    """The ranges of the finished network, in the whole space or what is left of it."""
    return limits_of(space, space.cost_table(), target.final(space), latency)


def _best(there: SearchSpace, own: Sequence[Limit], log_probs: Sequence[np.ndarray]) -> Architecture | None:
    try:
        return there.architecture(most_probable_within(own, log_probs).choices)
    except CostRangeError:
        return None


def _leaves_room(room: Room, number: int, there: SearchSpace, arch: Architecture) -> bool:
    """Whether the later parts can still meet their ranges of FLOPs."""
    cost = int(fixed_cost(room.space, number, there.cost_table(), there.index([arch]))[0])
    return room.after(number, decided(room.space, number, arch), cost)


def _drawn(
    space: SearchSpace, number: int, there: SearchSpace, log_probs: Sequence[np.ndarray], final: Sequence[Limit]
) -> np.ndarray:
    """What whole networks drawn from the final ranges are in the part's space: distinct choices, int64 (N, D)."""
    learned = {
        d.name: logp for d, logp in zip(there.decisions, log_probs) if is_searched_in(space.parts[number], d.name)
    }
    logp = [learned.get(d.name, np.zeros(len(d.candidates))) for d in space.decisions]
    rows, names = likely_within(final, logp, DRAWS), [d.name for d in space.decisions]
    columns = [rows[:, names.index(d.name)] * (len(d.candidates) > 1) for d in there.decisions]  # "skip" for later ones
    return np.unique(np.stack(columns, axis=1), axis=0)
