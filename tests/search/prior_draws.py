"""Draws from a prior without a solver."""

import torch

from autovid.search.strategies.parsec import Prior


def draw_from(prior: Prior, k: int, generator: torch.Generator) -> torch.Tensor:
    """Draw K architectures, candidate numbers (K, D)."""
    columns = [
        torch.multinomial(torch.from_numpy(logp).exp(), k, replacement=True, generator=generator)
        for logp in prior.log_probs()
    ]
    return torch.stack(columns, 1)
