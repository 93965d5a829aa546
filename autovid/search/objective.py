"""PARSEC's two gradients and the term of each constrained cost (equations: docs/papers.md).

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
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autovid.solver import CostRange, CostTable, posterior_in_range

BINS = 1024  # of cost up to the end of the range: some 70 ms of a step on the 171 decisions of two_stream
LogProbs = Sequence[NDArray[np.float64]]


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

    It is p_dc - P(d = c | in range), costs in BINS bins. Where P is too small for a float64 the expectation leads.
    """
    posterior = posterior_in_range(table, log_probs, *ends, bins=BINS)
    if not np.isfinite(posterior.log_probability):
        return expectation_gradient(table, log_probs, ends)
    return [np.exp(logp) - marginal for logp, marginal in zip(log_probs, posterior.marginals)]


class CostTerm(NamedTuple):
    """The term of one constraint: the architectures' shares n_K of the cost, and its coefficient."""

    n_K: Tensor
    beta: float


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


def sample_count(setting: int | str, most: int, entropy: float, uniform_entropy: float) -> int:
    """K: the number asked for, or with `auto` in proportion to the prior's entropy, as FP-NAS does; at least 2."""
    if setting != "auto":
        return int(setting)
    share = entropy / uniform_entropy if uniform_entropy > 0 else 0.0
    return max(2, min(most, round(most * share)))
