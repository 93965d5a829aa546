"""A range of latency in a search: each part's share of it, its cost term, and the choice at the end of a part. Ours.

The term is that of the FLOPs, with a coefficient of its own. The shares that the space's file gives are of FLOPs, so a
part may use of the latency what it has used on average in architectures drawn uniformly from all ranges. What a part
chooses lies in its ranges, but whether the later parts can then meet theirs of the latency is not looked ahead: where
they cannot, derivation opens all decisions again.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from autovid.cost import CostRange, CostTable, LatencyRange, Limit, most_probable_within, sample_within
from autovid.errors import CostRangeError
from autovid.search.objective import Beta, cost_shares, cost_term
from autovid.search.room import NATURAL, in_part, uniform
from autovid.search.target import Target
from autovid.space import Architecture, SearchSpace


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

    def loss(self, logprob_K: Tensor, archs_KD: Tensor) -> Tensor:
        """The term, to be added to the surrogate of the prior."""
        n_K = cost_shares(self.table.total(archs_KD.numpy()), self.aim)
        return cost_term(logprob_K, n_K, self.beta.value, self.beta.auto)

    def update(self, log_probs: Sequence[np.ndarray]) -> None:
        """A step of the coefficient, where it is `auto`."""
        self.beta.update(self.expected(log_probs), self.aim)

    def expected(self, log_probs: Sequence[np.ndarray]) -> float:
        """The mean latency under a prior, in nanoseconds."""
        return self.table.expected([np.exp(logp) for logp in log_probs])

    def metrics(self, log_probs: Sequence[np.ndarray]) -> dict[str, float]:
        """For the log."""
        return {"expected_ms": self.expected(log_probs) / 1e6, "latency_beta": self.beta.value}

    def choose(self, there: SearchSpace, flops: Limit | None, log_probs: Sequence[np.ndarray]) -> Architecture | None:
        """The most probable architecture of the part inside its ranges; None where there is none."""
        try:
            found = most_probable_within([*([flops] if flops else []), self.limit], log_probs)
        except CostRangeError:
            return None
        return there.architecture(found.choices)
