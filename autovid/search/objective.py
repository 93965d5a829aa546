"""The objective of a prior: PARSEC's two gradients, a term for each constrained cost, and when learning may begin.

Equations (docs/papers.md):

    m_k = softmax_k(l_k)                                  l_k: log-likelihood of the batch under A_k, detached
    cost_k = max(0, F_k / T_max - 1) + max(0, 1 - F_k / T_min)
    n_k = cost_k / sum(cost), 0 where no architecture costs anything
    grad_omega = - sum_k m_k grad log P(y | X, omega, A_k)
    grad_alpha = sum_k (- m_k + beta n_k) grad log P(A_k | alpha)

With several constraints (ours) each has a term beta n_k of its own, with its own cost F, range and beta.

The sum over K is a noisy estimate of grad log E[cost(A)], noisier than what accuracy says. Ours, without noise, from
the cost tables (`--cost-gradient`):

    exact       beta excess(E[F(A)]), excess(F) = cost_k of above: zero once the expectation is inside the range
    in-range    - beta log P(F(A) in the range)

Beta is so many nats for an expectation twice the range in `exact`, where its gradient is what `sampled` has on average;
nearer to the range `sampled` divides by what is left and pushes harder. In `in-range` beta 1 counts P(in range) like
the likelihood.

Eq. 2 prints "T_max - 1" below the fraction; this reading is the one that makes sense.

Weights are in float64: those of architectures that agree in a decision may cancel, and Adam would take what float32
leaves of them for a gradient of full size.

A prior may begin to learn once the scores of the supernet say something about architectures. Ours.

PARSEC's prior opens after a quarter of a part, whatever the supernet has learned by then; Adam makes full steps of the
noise that it may still be. Here the prior opens when both hold:

1. The supernet has learned: its held-out loss, the mean over the last LOSSES rounds of scoring, lies clearly
   (CLEARLY standard errors over these rounds) below chance.
2. Architectures differ by more than the noise: the same ones are scored on two batches of other clips, one step apart.
   What lasts from the one to the other is theirs, what does not is noise. The correlation of their losses, over the
   pairs of rounds since the supernet was last at chance, has a mean of zero where they are alike. It must lie CLEARLY
   standard errors above it. The standard error is that of the pairs, but at least that of shuffled architectures: the
   correlation of n shuffled ones has a variance of 1 / (n - 1), whatever the noise. (The pairs' own is larger where one
   thing moves the losses of a whole batch, such as how sure of itself an architecture is; FEWEST pairs, so that these
   do not agree by chance alone.)

A pair costs forward passes of two steps in every `interval`: about CHECKS pairs a part, at most a pair in EVERY steps.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autovid.search.chance import CLEARLY
from autovid.search.problem import Choices
from autovid.search.strategy import Scores, State
from autovid.solver import CostRange, CostTable, posterior_in_range

BINS = 1024  # of cost up to the end of the range: some 70 ms of a step on the 171 decisions of two_stream; more, ...
INSIDE, MOST_BINS = 16, 16_384  # ... so that the range itself has some, but at most so many
LogProbs = Sequence[NDArray[np.float64]]
EVERY, CHECKS = 4, 16
FEWEST = 6  # pairs, before which nothing opens
LOSSES = 16  # rounds whose loss is compared with chance


class CostTerm(NamedTuple):
    """The term of one constraint: the architectures' shares n_K of the cost, and its coefficient."""

    n_K: Tensor
    beta: float


class Beta:
    """The coefficient of a cost term: a number, or `auto`: dual ascent until the expected cost is in the range.

    auto (ours) raises beta in proportion to how far outside the expected cost is, and lets it decay inside, so that
    accuracy has its say again. A large beta also multiplies the noise of the printed estimator, which grows with
    (beta - 1) / K however alike the architectures are; so auto goes with a control variate (see `surrogate`), and the
    search aims at the middle half of the range, so that the expected cost does not end on its edge.
    """

    START, RATE, DECAY, LARGEST = 0.1, 1.0, 0.97, 10.0

    def __init__(self, setting: float | str) -> None:
        self.auto = setting == "auto"
        self.value = self.START if self.auto else float(setting)

    def aim(self, ends: CostRange | None) -> CostRange | None:
        """Return the range that the term pushes towards: its middle half with `auto`, else itself."""
        return ends.middle() if self.auto and ends is not None else ends

    def update(self, expected: float, ends: CostRange | None) -> None:
        """One step of dual ascent on the exact expectation of the cost, in atoms; `ends`: the range itself."""
        aim = self.aim(ends)
        if not self.auto or aim is None:
            return
        outside = float(excess(np.array([expected]), aim)[0])
        if outside > 0:
            self.value = min(self.LARGEST, self.value + self.RATE * outside)
        else:
            self.value *= self.DECAY


class Opening:
    """Collects evidence round by round; once open, it stays so. `steps`: of the part."""

    def __init__(self, steps: int) -> None:
        self.interval = max(EVERY, steps // CHECKS)
        self.is_open = False
        self.losses: list[float] = []  # of the last rounds, the mean over their architectures
        self.agreements: list[tuple[float, int]] = []  # of each pair: the correlation, of how many architectures
        self.chance = math.inf
        self.first: tuple[Choices, NDArray[np.float64]] | None = None  # scored once, to be scored again

    def turn(self, step: int) -> Literal["first", "again", ""]:
        """Say what is to be scored at a step of the part: new architectures, those of the step before, or nothing."""
        at = step % self.interval
        return "first" if at == 0 else "again" if at == 1 and self.first is not None else ""

    def add(self, choices: Choices, scores: Scores) -> None:
        """Take note of scores, and open where the evidence is enough."""
        self.chance = scores.chance
        self.losses = [*self.losses, float(-scores.log_likelihood_K.mean())][-LOSSES:]
        at_chance = len(self.losses) >= 2 * FEWEST and not self._below_chance()
        if at_chance:
            self.agreements = []
        if self.first is None or not np.array_equal(self.first[0], choices):
            self.first = choices.copy(), scores.log_likelihood_K.copy()
            return
        correlation, n = agreement(choices, self.first[1], scores.log_likelihood_K)
        if n > 1 and not at_chance:
            self.agreements.append((correlation, n))
        self.first = None
        self.is_open = self.is_open or (self._below_chance() and self._differ())

    def _loss(self) -> tuple[float, float]:
        """Return the held-out loss and its standard error."""
        if len(self.losses) < 2:
            return (self.losses or [math.nan])[0], math.inf
        return statistics.fmean(self.losses), statistics.stdev(self.losses) / math.sqrt(len(self.losses))

    def _below_chance(self) -> bool:
        loss, error = self._loss()
        return len(self.losses) >= 2 * FEWEST and loss + CLEARLY * error < self.chance

    def _agreement(self) -> tuple[float, float]:
        """Return the mean correlation of the pairs and its standard error."""
        values, pairs = [value for value, _ in self.agreements], len(self.agreements)
        if pairs < 2:
            return (values or [0.0])[0], math.inf
        shuffled = math.sqrt(sum(1 / (n - 1) for _, n in self.agreements)) / pairs
        return statistics.fmean(values), max(shuffled, statistics.stdev(values) / math.sqrt(pairs))

    def _differ(self) -> bool:
        value, error = self._agreement()
        return len(self.agreements) >= FEWEST and value > CLEARLY * error

    def __str__(self) -> str:
        """Say how the evidence stands, in a line."""
        loss, error = self._loss()
        if not self._below_chance():
            if len(self.losses) < 2 * FEWEST:
                return f"architectures were scored {len(self.losses)} times, and {2 * FEWEST} are needed"
            return f"held-out loss {loss:.3f} ± {error:.3f} is not clearly below chance {self.chance:.3f}"
        text = f"held-out loss {loss:.3f} ± {error:.3f} is below chance {self.chance:.3f}"
        if len(self.agreements) < FEWEST:
            return f"{text}, but was so for {len(self.agreements)} pairs of rounds alone, and {FEWEST} are needed"
        value, error = self._agreement()
        seen = f"losses on one batch and another correlate by {value:.2f} ± {error:.2f}"
        if self.is_open:
            return f"{text}, and architectures differ by more than the noise ({seen})"
        return f"{text}, but architectures do not clearly differ by more than the noise ({seen})"

    def state(self) -> State:
        """Everything that is needed to go on."""
        first = [] if self.first is None else [torch.from_numpy(part.copy()) for part in self.first]
        pairs = [list(pair) for pair in self.agreements]
        return {
            "open": self.is_open, "losses": list(self.losses), "agreements": pairs, "chance": self.chance,
            "first": first,
        }  # fmt: skip

    def load(self, state: State) -> None:
        """Take up a saved state."""
        self.is_open, self.chance, self.losses = state["open"], state["chance"], list(state["losses"])
        self.agreements = [(value, n) for value, n in state["agreements"]]
        self.first = (state["first"][0].numpy(), state["first"][1].numpy()) if state["first"] else None


def importance(loglik_K: Tensor) -> Tensor:
    """m_k: the weights of the K architectures, (K,), detached, summing to 1."""
    return torch.softmax(loglik_K.detach().double(), 0)


def excess(costs: np.ndarray, ends: CostRange | None) -> np.ndarray:
    """cost_k: how far outside the range each cost is, as a share of the nearer end; 0 inside. float64 (K,)."""
    if ends is None:
        return np.zeros(len(costs))
    over = costs / ends.high - 1.0
    under = 1.0 - costs / ends.low if ends.low else np.full(len(costs), -1.0)
    return np.maximum(0.0, over) + np.maximum(0.0, under)


def cost_shares(costs: np.ndarray, ends: CostRange | None) -> Tensor:
    """n_k: each architecture's share of the cost, (K,); all 0 where nobody is outside the range."""
    cost = excess(costs, ends)
    total = cost.sum()
    return torch.from_numpy(cost / total if total > 0 else cost)


def expectation_gradient(table: CostTable, log_probs: LogProbs, ends: CostRange) -> list[NDArray[np.float64]]:
    """Return the gradient of excess(E[F]), by decision (C_d,), for the logits of the prior; exact.

    E[F] is linear in the probabilities of each decision, with derivatives g_dc; softmax makes p_dc (g_dc - p_d . g_d).
    """
    probabilities = [np.exp(logp) for logp in log_probs]
    expected = table.expected(probabilities)
    if expected > ends.high:
        scale = 1.0 / ends.high
    elif expected < ends.low:
        scale = -1.0 / ends.low
    else:
        return [np.zeros(len(p)) for p in probabilities]
    return [scale * p * (g - p @ g) for p, g in zip(probabilities, table.expected_gradient(probabilities))]


def in_range_gradient(table: CostTable, log_probs: LogProbs, ends: CostRange) -> list[NDArray[np.float64]]:
    """Return the gradient of -log P(F in the range), by decision (C_d,), for the logits of the prior.

    It is p_dc - P(d = c | in range), costs in bins. Where P is too small for a float64 the expectation leads.
    """
    bins = min(MOST_BINS, max(BINS, -(-INSIDE * ends.high // max(1, ends.high - ends.low))))
    posterior = posterior_in_range(table, log_probs, *ends, bins=bins)
    if not np.isfinite(posterior.log_probability):
        return expectation_gradient(table, log_probs, ends)
    return [np.exp(logp) - marginal for logp, marginal in zip(log_probs, posterior.marginals)]


def surrogate(
    logprob_K: Tensor, m_K: Tensor, terms: Sequence[CostTerm], conditioned: bool = False, control: bool = False
) -> Tensor:
    """Return the loss whose gradient is PARSEC's gradient for alpha: sum_k (-m_k + beta n_k) log P(A_k | alpha).

    `conditioned`: the architectures were drawn from the prior conditioned on a range (ours). log P(A_k | alpha, range)
    is log P(A_k | alpha) - log P(range), and the gradient of log P(range) is E[grad log P(A)] over what is inside: the
    mean of the draws estimates it. The weights sum to -1 + beta sum_k n_k, so each one gets (1 - beta sum_k n_k) / K
    more: their mean is taken off. What all architectures have alike cancels so, and no control variate is needed.

    `control`, of other draws: subtracts from each weight what it would be if all architectures were alike (ours). Since
    E[grad log P(A)] = 0 and that does not depend on A_k, the expected gradient is the same; its noise is not.
    """
    weights, alike = -m_K, torch.ones_like(m_K)
    for n_K, beta in terms:
        weights = weights + beta * n_K
        alike = alike - beta * _others_cost(n_K)
    if conditioned:
        weights = weights - weights.mean()
    elif control:
        weights = weights + alike / len(m_K)
    return (weights.detach() * logprob_K).sum()


def _others_cost(n_K: Tensor) -> Tensor:
    """1 where an architecture but the k-th itself lies outside the range, else 0."""
    costs = (n_K > 0).double()
    return (costs.sum() > costs).double()


def sample_count(setting: int | str, most: int, entropy: float, uniform_entropy: float) -> int:
    """K: the number asked for, or with `auto` in proportion to the prior's entropy, as FP-NAS does; at least 2."""
    if setting != "auto":
        return int(setting)
    fraction = entropy / uniform_entropy if uniform_entropy > 0 else 0.0
    return max(2, min(most, round(most * fraction)))


def agreement(choices: Choices, first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, int]:
    """Return the correlation of architectures' scores in two rounds, and of how many it is: each counts once."""
    at = np.unique(choices, axis=0, return_index=True)[1]
    a, b = first[at] - first[at].mean(), second[at] - second[at].mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return (float(a @ b) / size if size > 0 else 0.0), len(at)


def opening_of(strategy: Any) -> Opening | None:
    """Return the rule for when a strategy's prior begins to learn; None where it does not wait for evidence."""
    opening: Opening | None = getattr(strategy, "opening", None)
    return opening
