"""PARSEC's gradient from draws that are conditioned on a range, against the exact gradient of the conditioned prior.

Everything is enumerated in float64, nothing is drawn: each figure is a sum of some thousand terms of size 1 at most, so
rounding stays below 1e3 * 1e-16 on any machine, and 1e-12 leaves it a factor of ten.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from autovid.search.objective import CostTerm, cost_shares, excess, importance, surrogate
from autovid.solver import CostRange

ODDS = ((1, 2, 3), (2, 1), (1, 3, 2, 1))  # P(candidate) over that of one with odds of 1, in three decisions
FLOPS, LATENCY = CostRange(130, 150), CostRange(500, 600)


class Population(NamedTuple):
    """Twelve architectures inside the range that draws are conditioned on, each as often as its probability says."""

    alpha: list[Tensor]
    choices_KD: np.ndarray
    loglik_K: Tensor
    macs_K: np.ndarray
    latency_K: np.ndarray

    def logprob(self) -> Tensor:
        """log P(A_k | alpha), (K,)."""
        columns = zip(self.alpha, self.choices_KD.T)
        return torch.stack([torch.log_softmax(a, 0)[torch.from_numpy(c)] for a, c in columns]).sum(0)

    def gradient(self, loss: Tensor) -> Tensor:
        """With respect to alpha, one after the other."""
        return torch.cat(torch.autograd.grad(loss, self.alpha))


def population(repeated: bool = True) -> Population:
    rng = np.random.default_rng(5)
    every = np.array(list(itertools.product(*(range(len(odds)) for odds in ODDS))))
    inside = every[rng.permutation(len(every))[:12]]
    figures = [rng.normal(size=12), rng.integers(100, 200, 12), rng.integers(300, 900, 12)]
    counts = [int(np.prod([odds[c] for odds, c in zip(ODDS, row)])) for row in inside] if repeated else [1] * 12
    loglik, macs, latency = (np.repeat(figure, counts) for figure in figures)
    alpha = [torch.tensor(odds, dtype=torch.float64).log().requires_grad_() for odds in ODDS]
    return Population(alpha, np.repeat(inside, counts, axis=0), torch.from_numpy(loglik), macs, latency)


def exact(every: Population, betas: tuple[float, float]) -> Tensor:
    """Of -log E[p(y | A)] + sum_c beta_c log E[cost_c(A)] under P(A | alpha, inside), by autograd through the sums."""
    once = population(repeated=False)._replace(alpha=every.alpha)
    logp = torch.log_softmax(once.logprob(), 0)  # normalised over what is inside
    loss = -torch.logsumexp(once.loglik_K + logp, 0)
    for beta, costs, ends in ((betas[0], once.macs_K, FLOPS), (betas[1], once.latency_K, LATENCY)):
        loss = loss + beta * torch.log((torch.from_numpy(excess(costs, ends)) * logp.exp()).sum())
    return every.gradient(loss)


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.3, 0.0), (2.0, 0.0), (0.3, 2.0), (2.0, 0.3), (0.0, 2.0)])
def test_a_sample_as_the_prior_has_it_gives_the_exact_gradient(betas: tuple[float, float], control: bool) -> None:
    """With a range of one cost and of two; the draws need not be conditioned on the ranges that cost something."""
    every = population()
    macs_K, latency_K = cost_shares(every.macs_K, FLOPS), cost_shares(every.latency_K, LATENCY)
    assert ((macs_K > 0).any(), (latency_K > 0).any()) == (True, True)
    logprob_K = every.logprob()
    terms = [CostTerm(macs_K, betas[0]), CostTerm(latency_K, betas[1])]
    loss = surrogate(logprob_K, importance(every.loglik_K), terms, True, control)
    error = (every.gradient(loss) - exact(every, betas)).abs().max()
    assert error < 1e-12, error


@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_the_mean_over_all_triples_is_that_with_the_exact_normaliser(beta: float) -> None:
    """K = 3: no bias from estimating the normaliser by the draws, where some architecture of each triple costs."""
    once = population(repeated=False)
    logprob_A, outside = once.logprob(), CostRange(50, 90)
    p_A = torch.softmax(logprob_A.detach(), 0)
    mean_logprob = (p_A * logprob_A).sum()
    estimated = exact = torch.zeros(())
    for triple in itertools.product(range(12), repeat=3):
        which = torch.tensor(triple)
        m_K, n_K = importance(once.loglik_K[which]), cost_shares(once.macs_K[which.numpy()], outside)
        p = p_A[which].prod()
        estimated = estimated + p * surrogate(logprob_A[which], m_K, [CostTerm(n_K, beta)], conditioned=True)
        exact = exact + p * ((beta * n_K - m_K) * (logprob_A[which] - mean_logprob)).sum()
    error = once.gradient(estimated - exact).abs().max()
    assert error < 1e-12, error


def test_architectures_that_are_alike_push_nothing_whatever_beta() -> None:
    """So conditioned draws need no control variate: what all of them have alike cancels."""
    every = population()
    alike = torch.full((len(every.macs_K),), 1 / len(every.macs_K), dtype=torch.float64)
    logprob_K = every.logprob()
    loss = surrogate(logprob_K, alike, [CostTerm(alike, 10.0), CostTerm(alike, 10.0)], True)
    assert every.gradient(loss).abs().max() < 1e-12
