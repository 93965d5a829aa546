"""PARSEC: a probabilistic supernet whose prior over architectures learns from the likelihood of drawn ones.

Casale, Gordon and Fusi, "Probabilistic neural architecture search" (2019, arXiv 1902.05116); with a range of cost in
the loss as in "Auto-TSNet: two-stream networks by neural architecture search" (docs/papers.md gives the equations; they
are in autovid/search/objective.py). One update draws K architectures; the weights learn from them, weighted by their
likelihood, and after the warm-up the prior learns from the same K on held-out clips. Ours: `cost_gradient` exact and
in-range, a warm-up that lasts until there is evidence (`Opening`), and `uniform_draws`.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autovid.costs import Macs
from autovid.search.constraints import PartConstraint
from autovid.search.objective import (
    Beta,
    CostTerm,
    Opening,
    cost_shares,
    expectation_gradient,
    importance,
    in_range_gradient,
    sample_count,
    surrogate,
)
from autovid.search.problem import Choices, Problem, prefers_nothing
from autovid.search.strategy import Scores, State
from autovid.space import SearchSpace

PAPERS = {"cost_gradient": "sampled", "open_prior": "quarter"}  # in the papers' recipe
OURS = {  # in the proxy's, where draws lie in the range
    "cost_gradient": "exact", "open_prior": "evidence", "uniform_draws": 0.5,
}  # fmt: skip


class Prior(nn.Module):
    """alpha of every decision of a space that is open, or of those `searched`: P(A) = prod_d softmax(alpha_d).

    alpha = 0 at the start, which is uniform. Decisions of a part's space that a later part opens, and that have no
    "skip" to stand for them, are drawn uniformly and stay uniform (ours): they have no alpha. Shapes: K architectures,
    D decisions, C_d candidates of decision d.

    Always on the CPU: it is small, and every worker must draw the same.
    """

    def __init__(self, space: SearchSpace, searched: Sequence[int] | None = None) -> None:
        super().__init__()
        self.names = [decision.name for decision in space.decisions]
        self.sizes = space.sizes
        undecided = [d for d, size in enumerate(self.sizes) if size > 1]
        self.open = undecided if searched is None else list(searched)
        self.alpha = nn.ParameterList(nn.Parameter(torch.zeros(self.sizes[d])) for d in self.open)

    def log_probs(self) -> list[np.ndarray]:
        """log P of every candidate of every decision, float64, as the cost solver takes it; 0 for a closed one."""
        logp = [np.full(size, -np.log(size)) for size in self.sizes]
        for d, alpha in zip(self.open, self.alpha):
            logp[d] = torch.log_softmax(alpha.detach().double(), 0).numpy()
        return logp

    def log_prob(self, choices_KD: Tensor) -> Tensor:
        """log P(A_k | alpha) of the decisions that have an alpha, float64 (K,), with a gradient to it."""
        total = torch.zeros(len(choices_KD), dtype=torch.float64)
        for d, alpha in zip(self.open, self.alpha):
            total = total + torch.log_softmax(alpha.double(), 0)[choices_KD[:, d]]
        return total

    def along(self, gradient: Sequence[np.ndarray]) -> Tensor:
        """Return a number whose gradient for alpha is this one, a vector (C_d,) for every decision."""
        total = torch.zeros((), dtype=torch.float64)
        for d, alpha in zip(self.open, self.alpha):
            total = total + (alpha.double() * torch.from_numpy(gradient[d])).sum()
        return total

    def entropies(self) -> dict[str, float]:
        """Entropy of every decision that has an alpha, in nats."""
        logp = self.log_probs()
        return {self.names[d]: float(-(np.exp(logp[d]) * logp[d]).sum()) for d in self.open}

    def entropy(self) -> float:
        """Entropy of what is learned, in nats."""
        return sum(self.entropies().values())

    def uniform_entropy(self) -> float:
        """Return the entropy at the start, which is the largest."""
        return float(sum(np.log(self.sizes[d]) for d in self.open))

    def begin(self, learned: Mapping[str, np.ndarray]) -> None:
        """Begin at log-probabilities that earlier parts have learned, by name; uniform elsewhere."""
        with torch.no_grad():
            for d, alpha in zip(self.open, self.alpha):
                if self.names[d] in learned:
                    alpha.copy_(torch.from_numpy(learned[self.names[d]]))

    def tensors(self) -> dict[str, Tensor]:
        """alpha by decision name."""
        return {self.names[d]: alpha.detach().clone() for d, alpha in zip(self.open, self.alpha)}

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Take alpha from `tensors`."""
        with torch.no_grad():
            for d, alpha in zip(self.open, self.alpha):
                alpha.copy_(tensors[self.names[d]])


class ParsecSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of PARSEC.

    `samples`: K, or "auto": in proportion to the prior's entropy, at most `most_samples`; `beta`: weight of the cost
    term, or "auto"; `likelihood`: mean or sum over the clips of a batch; `in_range`: draw only inside the constraints;
    `arch_lr`: Adam's learning rate for alpha; `cost_gradient`: of the cost term, by the K architectures ("sampled"), of
    the expected cost ("exact") or of log P(in range) ("in-range"); `open_prior`: alpha learns after the problem's
    warm-up, a quarter of the part ("quarter"), or when the scores say something about architectures ("evidence");
    `uniform_draws`: the part of a fixed number of architectures an update that is drawn uniformly, not from the prior,
    so that the weights of what the prior leaves do not decay, and the supernet can compare it with the rest.
    """

    samples: int | Literal["auto"] = 13
    most_samples: int = 13
    beta: float | Literal["auto"] = "auto"
    likelihood: Literal["mean", "sum"] = "mean"
    in_range: bool = False
    arch_lr: float = 0.015
    cost_gradient: Literal["sampled", "exact", "in-range"] = "sampled"
    open_prior: Literal["quarter", "evidence"] = "quarter"
    uniform_draws: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0

    @classmethod
    def of_recipe(cls, given: Mapping[str, Any], samples: int, constrained: bool, proxy: bool) -> dict[str, Any]:
        """Return the settings by a space's recipe with K = `samples`, or its proxy; those `given` come before it."""
        k = given.get("samples", samples)
        most = samples if k == "auto" else k
        usual = {**OURS, "in_range": constrained} if proxy else PAPERS
        return {"samples": samples, "most_samples": most, "beta": "auto", **usual, **given}


class Parsec:
    """The prior over the decisions that are searched, and how it learns."""

    Settings: ClassVar = ParsecSettings
    weighting: Literal["equal", "likelihood"] = "likelihood"
    interleaved = True
    score: ClassVar[Literal["supernet", "training"]] = "supernet"

    def __init__(self, problem: Problem, settings: ParsecSettings) -> None:
        self.problem, self.settings = problem, settings
        self.prior = Prior(problem.space, problem.searched)
        self.prior.begin(problem.learned)
        self.adam = torch.optim.Adam(self.prior.parameters(), settings.arch_lr) if problem.searched else None
        self.betas = [Beta(settings.beta) for _ in problem.constraints]
        self.opening = Opening(problem.steps) if settings.open_prior == "evidence" else None
        self._drawn: tuple[int, Choices] | None = None
        sizes = [problem.space.sizes[d] for d in problem.searched]
        self.pushes = {why: [torch.zeros(size) for size in sizes] for why in ("accuracy", "cost")}  # summed gradients

    def draw(self, step: int, n: int | None, rng: np.random.Generator) -> Choices:
        warm = step < self.problem.warmup
        uniform = self.prior.uniform_entropy()
        entropy = uniform if warm else self.prior.entropy()
        k = n or sample_count(self.settings.samples, self.settings.most_samples, entropy, uniform)
        if n is not None and not warm and (several := round(n * self.settings.uniform_draws)):
            rows = [self._sample(n - several, rng, self.prior.log_probs())] if several < n else []
            choices = rng.permutation(np.concatenate([*rows, self._sample(several, rng, self.problem.uniform())]))
        else:
            choices = self._sample(k, rng, self.problem.uniform() if warm else self.prior.log_probs())
        self._drawn = (step, choices) if n is None else None  # others are too few, or too many, to learn alpha from
        return choices

    def _sample(self, n: int, rng: np.random.Generator, log_probs: list[NDArray[np.float64]]) -> Choices:
        if self.settings.in_range:
            return self.problem.sample(n, rng, log_probs=log_probs)
        return self.problem.sample(n, rng, log_probs=log_probs, constraints=())

    def ask(self, step: int, rng: np.random.Generator) -> Choices:
        if step < self.problem.warmup or self.adam is None:
            return np.zeros((0, len(self.problem.space.sizes)), np.int64)
        if self.opening is not None and not self.opening.is_open:
            return self._for_evidence(self.opening, step, rng)
        if self._drawn is not None and self._drawn[0] == step:
            return self._drawn[1]
        return self.draw(step, None, rng)

    def _for_evidence(self, opening: Opening, step: int, rng: np.random.Generator) -> Choices:
        """While the prior is closed: now and then K architectures, and at the next step the same ones."""
        turn = opening.turn(step)
        if turn == "again" and opening.first is not None:
            return opening.first[0]
        return self.draw(step, None, rng) if turn else np.zeros((0, len(self.problem.space.sizes)), np.int64)

    def tell(self, choices: Choices, scores: Scores) -> dict[str, float]:
        """One step of Adam on PARSEC's surrogate; while the prior is closed, evidence is collected instead."""
        assert self.adam is not None
        if self.opening is not None and not self.opening.is_open:
            self.opening.add(choices, scores)
            return {"prior_open": float(self.opening.is_open)}
        self.adam.zero_grad()
        accuracy, loss = self._losses(choices, scores)
        own = torch.autograd.grad(accuracy, list(self.prior.parameters()), retain_graph=True)
        torch.autograd.backward(loss)
        for alpha, gradient, *sums in zip(self.prior.parameters(), own, *self.pushes.values()):
            assert alpha.grad is not None
            sums[0].add_(gradient)
            sums[1].add_(alpha.grad - gradient)
        self.adam.step()
        return self._move_betas()

    @property
    def moved_by_cost(self) -> float | None:
        """The part of the prior's movement due to cost, by the size of summed gradients; None before it moves."""
        accuracy, cost = (sum(float(total.abs().sum()) for total in totals) for totals in self.pushes.values())
        return cost / (accuracy + cost) if accuracy + cost else None

    def _losses(self, choices: Choices, scores: Scores) -> tuple[Tensor, Tensor]:
        """Return losses that have PARSEC's gradient for alpha, without the terms of cost and with them.

        Exact terms leave the likelihood with a baseline alone.
        """
        factor = float(scores.clips) if self.settings.likelihood == "sum" else 1.0
        loglik_K = torch.from_numpy(scores.log_likelihood_K) * factor
        logprob_K, m_K = self.prior.log_prob(torch.from_numpy(choices)), importance(loglik_K)
        conditioned = self.settings.in_range and bool(self.problem.constraints)
        limits = list(zip(self.problem.constraints, self.betas))
        if self.settings.cost_gradient == "sampled":
            terms = [
                CostTerm(cost_shares(limit.table.total(choices), beta.aim(limit.range)), beta.value)
                for limit, beta in limits
            ]
            control = self.settings.beta == "auto"
            accuracy = surrogate(logprob_K, m_K, (), conditioned, control)
            return accuracy, surrogate(logprob_K, m_K, terms, conditioned, control)
        accuracy = loss = surrogate(logprob_K, m_K, (), conditioned, control=True)
        for limit, beta in limits:
            loss = loss + beta.value * self.prior.along(self._cost_gradient(limit, beta))
        return accuracy, loss

    def _cost_gradient(self, limit: PartConstraint, beta: Beta) -> list[NDArray[np.float64]]:
        log_probs = self.prior.log_probs()
        if self.settings.cost_gradient == "in-range":
            return in_range_gradient(limit.table, log_probs, limit.range)
        return expectation_gradient(limit.table, log_probs, beta.aim(limit.range) or limit.range)

    def _move_betas(self) -> dict[str, float]:
        probabilities = [np.exp(logp) for logp in self.prior.log_probs()]
        metrics = {}
        for limit, beta in zip(self.problem.constraints, self.betas):
            beta.update(limit.table.expected(probabilities), limit.range)
            metrics["beta" if limit.cost == Macs() else f"{limit.cost.name}_beta"] = beta.value
        return metrics

    def candidates(self, n: int, constraints: Sequence[PartConstraint], rng: np.random.Generator) -> Choices:
        """Return the most probable ones and draws from the prior, half and half; if it prefers nothing, one and draws.

        Neighbours in the order of probability differ in few decisions, and the order of equal ones means nothing.
        """
        log_probs = self._joint()
        likely = 1 if prefers_nothing(log_probs) else -(-n // 2)
        rows = self._most_probable(likely, log_probs, constraints)
        rows = np.concatenate([rows, self.problem.sample_others(n - likely, rng, rows, constraints, log_probs)])
        return rows if len(rows) == n else self._with_more(rows, n, log_probs, constraints)

    def _most_probable(
        self, n: int, log_probs: list[NDArray[np.float64]], constraints: Sequence[PartConstraint]
    ) -> Choices:
        found = list(islice(self.problem.best_first(log_probs, constraints), n))
        return np.array(found, np.int64).reshape(-1, len(self.problem.space.sizes))

    def _with_more(
        self, rows: Choices, n: int, log_probs: list[NDArray[np.float64]], constraints: Sequence[PartConstraint]
    ) -> Choices:
        """Fill up with the most probable of the others, as far as there are any."""
        known = set(map(tuple, rows.tolist()))
        others = (row for row in self._most_probable(n, log_probs, constraints) if tuple(row.tolist()) not in known)
        return np.concatenate([rows, *(row[None] for row in islice(others, n - len(rows)))])

    def _joint(self) -> list[NDArray[np.float64]]:
        """Return the prior, with what earlier parts have learned for their decisions."""
        log_probs = self.prior.log_probs()
        for d, decision in enumerate(self.problem.space.decisions):
            learned = d not in self.problem.searched and decision.name in self.problem.learned
            if learned and len(decision.candidates) > 1:
                log_probs[d] = self.problem.learned[decision.name]
        return log_probs

    def distribution(self) -> list[NDArray[np.float64]] | None:
        return self.prior.log_probs()

    def state(self) -> State:
        return {
            "alpha": self.prior.tensors(),
            "adam": self.adam.state_dict() if self.adam else {},
            "beta": [beta.value for beta in self.betas],
            "opening": self.opening.state() if self.opening else {},
            "pushes": {why: [total.clone() for total in totals] for why, totals in self.pushes.items()},
        }

    def load(self, state: State) -> None:
        self.prior.take(state["alpha"])
        if self.adam:
            self.adam.load_state_dict(state["adam"])
        for beta, value in zip(self.betas, state["beta"], strict=True):
            beta.value = value
        if self.opening:
            self.opening.load(state["opening"])
        self.pushes = {why: [total.clone() for total in totals] for why, totals in state["pushes"].items()}
