"""PARSEC's estimates against the exact thing, on a prior small enough to enumerate."""

import itertools

import numpy as np
import pytest
import torch
from prior_draws import draw_from

from autovid.search.objective import (
    Beta,
    CostTerm,
    cost_shares,
    excess,
    importance,
    sample_count,
    surrogate,
)
from autovid.search.strategies.parsec import Prior
from autovid.search.supernet import StreamingSoftmax
from autovid.solver import CostRange
from autovid.space import load_space


def small_prior(seed: int) -> Prior:
    """Three open decisions of 3, 2 and 4 candidates with random alpha."""
    space = load_space("tiny")
    names = {len(d.candidates): d.name for d in space.decisions}
    keep = {names[3], names[2], names[4]}
    prior = Prior(space.fix({d.name: d.candidates[0] for d in space.decisions if d.name not in keep}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alpha in prior.alpha:
            alpha.copy_(torch.randn(alpha.shape, generator=generator))
    return prior


def everything(prior: Prior) -> torch.Tensor:
    ranges = [range(n) for n in prior.sizes]
    return torch.tensor(list(itertools.product(*ranges)))


def gradient(prior: Prior, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(prior.alpha))])


@pytest.mark.slow
@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_estimate_converges_to_the_exact_gradient(beta: float, control: bool) -> None:
    """-log sum_A P(y|A) P(A) + beta log sum_A cost(A) P(A), differentiated exactly, against one huge sample."""
    prior = small_prior(0)
    all_AD = everything(prior)
    generator = torch.Generator().manual_seed(1)
    loglik_A = torch.randn(len(all_AD), generator=generator, dtype=torch.float64)
    macs_A = (1e9 * (1 + torch.rand(len(all_AD), generator=generator, dtype=torch.float64))).numpy()
    target = CostRange(1_300_000_000, 1_500_000_000)
    logp_A = prior.log_prob(all_AD).double()
    cost_A = torch.from_numpy(excess(macs_A, target))
    exact = -torch.logsumexp(loglik_A + logp_A, 0)
    exact = exact + beta * torch.log((cost_A * logp_A.exp()).sum())
    expected = gradient(prior, exact)

    drawn_KD = draw_from(prior, 400_000, generator)
    place = {tuple(row): i for i, row in enumerate(all_AD.tolist())}
    which = torch.tensor([place[tuple(row)] for row in drawn_KD.tolist()])
    m_K = importance(loglik_A[which])
    n_K = cost_shares(macs_A[which.numpy()], target)
    estimate = gradient(prior, surrogate(prior.log_prob(drawn_KD), m_K, [CostTerm(n_K, beta)], control=control))
    # a mean of 400,000 draws with factors of size 1, whose deviation is 1 / sqrt(400,000) = 1.6e-3: three of them
    assert torch.allclose(estimate, expected.float(), atol=5e-3), (estimate - expected).abs().max()


@pytest.mark.slow
def test_the_control_variate_keeps_the_mean_and_takes_the_noise() -> None:
    """K = 13, a large beta and costs that differ little, 4,000 times: the means agree within their noise."""
    prior, beta, target = small_prior(0), 5.0, CostRange(900_000_000, 1_000_000_000)
    all_AD = everything(prior)
    generator = torch.Generator().manual_seed(1)
    loglik_A = 0.1 * torch.randn(len(all_AD), generator=generator, dtype=torch.float64)
    macs_A = (1e9 * (1.8 + 0.2 * torch.rand(len(all_AD), generator=generator, dtype=torch.float64))).numpy()
    place = {tuple(row): i for i, row in enumerate(all_AD.tolist())}
    estimates: dict[bool, list[torch.Tensor]] = {False: [], True: []}
    for _ in range(4000):
        drawn_KD = draw_from(prior, 13, generator)
        which = [place[tuple(row)] for row in drawn_KD.tolist()]
        m_K, n_K = importance(loglik_A[which]), cost_shares(macs_A[which], target)
        for control, gradients in estimates.items():
            gradients.append(
                gradient(prior, surrogate(prior.log_prob(drawn_KD), m_K, [CostTerm(n_K, beta)], control=control))
            )
    plain, controlled = (torch.stack(estimates[control]) for control in (False, True))
    noise = (plain - controlled).std(0) / len(plain) ** 0.5
    assert ((plain.mean(0) - controlled.mean(0)).abs() < 4 * noise).all()  # four deviations
    assert (controlled.var(0) < plain.var(0) / 10).all()


def test_conditioned_draws_estimate_the_gradient_of_the_conditioned_prior() -> None:
    prior = small_prior(2)
    all_AD = everything(prior)
    generator = torch.Generator().manual_seed(3)
    loglik_A = torch.randn(len(all_AD), generator=generator, dtype=torch.float64)
    inside = torch.rand(len(all_AD), generator=generator) < 0.4
    logp_A = prior.log_prob(all_AD[inside]).double()
    exact = -(torch.logsumexp(loglik_A[inside] + logp_A, 0) - torch.logsumexp(logp_A, 0))
    expected = gradient(prior, exact)
    drawn = torch.multinomial(logp_A.detach().exp(), 400_000, replacement=True, generator=generator)
    m_K, zero = importance(loglik_A[inside][drawn]), torch.zeros(len(drawn))
    logp_K = prior.log_prob(all_AD[inside][drawn])
    estimate = gradient(prior, surrogate(logp_K, m_K, [CostTerm(zero, 0.1)], conditioned=True))
    assert torch.allclose(estimate, expected.float(), atol=5e-3)  # as above


def test_nothing_is_pushed_where_every_architecture_is_inside() -> None:
    assert cost_shares(np.array([1.0, 1.2]), CostRange(1, 2)).tolist() == [0.0, 0.0]
    assert cost_shares(np.array([1.0, 5.0]), None).tolist() == [0.0, 0.0]


def test_cost_counts_both_sides_relative_to_the_nearer_end() -> None:
    # float64, two operations
    assert excess(np.array([100.0, 150.0, 200.0, 300.0]), CostRange(150, 200)) == pytest.approx([1 / 3, 0, 0, 0.5])


def test_streaming_softmax_equals_the_softmax_of_all_at_once() -> None:
    values = torch.tensor([-3.0, 5.0, 4.9, 800.0, 799.5, -1e4], dtype=torch.float64)
    weights, parts = StreamingSoftmax(), []
    for value in values.tolist():
        weight, shrink = weights.weigh(value)
        parts = [part * shrink for part in parts] + [weight]
    # float64: a dozen roundings, and exp to a unit or two in the last place
    assert torch.allclose(torch.tensor(parts, dtype=torch.float64) / weights.total, torch.softmax(values, 0))


def test_beta_auto_rises_outside_and_rests_inside() -> None:
    beta, target = Beta("auto"), CostRange(100, 110)
    beta.update(220.0, target)
    high = beta.value
    beta.update(105.0, target)
    assert high > Beta.START
    assert beta.value < high
    fixed = Beta(0.2)
    fixed.update(500.0, target)
    assert fixed.value == 0.2


def test_samples_follow_the_entropy() -> None:
    assert [sample_count("auto", 13, h, 10.0) for h in (10.0, 5.0, 0.1)] == [13, 6, 2]
    assert sample_count(7, 13, 0.1, 10.0) == 7


def test_a_prior_starts_uniform() -> None:
    fresh = Prior(load_space("tiny"))
    assert fresh.entropy() == pytest.approx(fresh.uniform_entropy())  # float64, a few roundings a decision
