"""The prior over architectures: one independent categorical per decision.

Casale, Gordon and Fusi, "Probabilistic neural architecture search", 2019, arXiv:1902.05116; docs/papers.md#parsec.

P(A | alpha) = prod_d Categorical(softmax(alpha_d)); alpha = 0 at the start, which is uniform.

A part learns the decisions that it opens. Those of its space that a later part opens, and that have no "skip" to stand
for them, are drawn uniformly and stay uniform (ours): they have no alpha.

Shapes: K architectures, D decisions, C_d candidates of decision d.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autovid.space import SearchSpace


class Prior(nn.Module):
    """alpha of every decision of a space that is open, or of those `searched`.

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
