"""A prior of independent categoricals, as the solvers see it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from autovid.solver.binned_dp import Floats
from autovid.solver.elimination import Ints
from autovid.solver.table import CostTable


class TablePrior:
    """The prior over what of a table it leaves possible.

    Attributes:
        table: the cost table restricted to candidates of probability > 0.
        logp: normalised log-probabilities of those candidates, by decision.
    """

    def __init__(self, table: CostTable, logits: Sequence[ArrayLike]) -> None:
        values = [np.asarray(x, np.float64) for x in logits]
        if [v.shape for v in values] != [(n,) for n in table.sizes]:
            raise ValueError("one vector of log-probabilities per decision is needed, one number per candidate")
        if any(np.isnan(v).any() or not np.isfinite(v.max()) for v in values):
            raise ValueError("log-probabilities must not be nan, and not all -inf in a decision")
        self._sizes = table.sizes
        self._kept = [np.flatnonzero(v > -np.inf) for v in values]
        dropped = {d: kept for d, (kept, v) in enumerate(zip(self._kept, values)) if len(kept) < len(v)}
        self.table = table.restrict(dropped) if dropped else table
        self.logp = [_log_softmax(v[kept]) for v, kept in zip(values, self._kept)]

    @property
    def weights(self) -> list[Floats]:
        """The log-probability of each outcome of each step of the table."""
        return [
            sum((self.logp[d][values] for d, values in zip(s.decisions, s.values_RD.T)), np.zeros(len(s.values_RD)))
            for s in self.table.steps
        ]

    def original(self, choices: Ints) -> Ints:
        """Return choices (..., D) on the restricted table as choices on the whole one."""
        columns = [kept[choices[..., d]] for d, kept in enumerate(self._kept)]
        return np.stack(columns, axis=-1) if columns else choices

    def spread(self, values: Sequence[Floats]) -> list[Floats]:
        """Vectors over the candidates of the restricted table, by decision, as vectors over all: 0 for the others."""
        whole = [np.zeros(size) for size in self._sizes]
        for vector, kept, some in zip(whole, self._kept, values):
            vector[kept] = some
        return whole

    def logprob(self, choices: Ints) -> float:
        """Return log P of one architecture, choices (D,) on the restricted table."""
        return math.fsum(float(p[c]) for p, c in zip(self.logp, choices))


def _log_softmax(values: Floats) -> Floats:
    shifted = values - values.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
