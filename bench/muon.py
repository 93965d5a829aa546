"""Muon at constant norms, for the small networks of the tabular benchmark: two thirds of the steps of SGD.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. Each matrix moves by its momentum
made orthogonal, so that every direction of a layer learns at the same pace. Ours: the kernels of a depthwise
convolution move by their momentum at length 1 each; a step is `lr` times the norm of its matrix; and the norm stays
what it was at the start, which changes nothing in front of a batch norm. `docs/research.md` has what it saves.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the coefficients and the number of rounds of the original
ROUNDS = 5
TINY = 1e-9


class Muon:
    """Momentum of Nesterov, orthogonal steps, constant norms.

    `matrices`: weights of two or more dimensions; the first one is the output. One that has one input for each output
    is a depthwise convolution's. Gradients are used up.
    """

    def __init__(self, matrices: Sequence[Tensor], momentum: float = 0.9) -> None:
        self.momentum = momentum
        depthwise = [w.dim() == 5 and w.shape[1] == 1 for w in matrices]
        self.dense = [w for w, alone in zip(matrices, depthwise) if not alone]
        self.weights = self.dense + [w for w, alone in zip(matrices, depthwise) if alone]
        self.velocity = [torch.zeros_like(w) for w in self.weights]
        self.norms = torch._foreach_norm([w.detach() for w in self.weights])
        sides = [(w.shape[0], w[0].numel()) for w in self.dense]
        self._all = torch.zeros(len(sides), max(min(s) for s in sides), max(max(s) for s in sides))  # lying, padded
        self._views = [_corner(matrix, *side) for matrix, side in zip(self._all, sides)]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every weight by `lr` times its norm."""
        gradients = [w.grad for w in self.weights if w.grad is not None]
        torch._foreach_mul_(self.velocity, self.momentum)
        torch._foreach_add_(self.velocity, gradients)
        torch._foreach_add_(gradients, self.velocity, alpha=self.momentum)
        moves = [*self._orthogonal(gradients[: len(self.dense)]), *map(_even, gradients[len(self.dense) :])]
        torch._foreach_mul_(moves, self.norms)
        torch._foreach_add_(self.weights, moves, alpha=-lr)
        grown = torch._foreach_div(torch._foreach_norm(self.weights), self.norms)
        torch._foreach_div_(self.weights, grown)
        for weight in self.weights:
            weight.grad = None

    def _orthogonal(self, moves: Sequence[Tensor]) -> list[Tensor]:
        """Return the nearest orthogonal matrices, nearly, at norm 1; all at once, padded with zeros."""
        torch._foreach_copy_(self._views, [move.flatten(1) for move in moves])
        x, (a, b, c) = _at_norm_1(self._all), NEWTON_SCHULZ
        for _ in range(ROUNDS):
            squares = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(squares, squares, squares, beta=b, alpha=c), x, beta=a)
        padded = zip(_at_norm_1(x), moves)
        return [_corner(matrix, move.shape[0], move[0].numel()).reshape(move.shape) for matrix, move in padded]


def _corner(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """Return the view of a lying matrix that holds one of this size."""
    return matrix[:columns, :rows].T if rows > columns else matrix[:rows, :columns]


def _at_norm_1(matrices: Tensor) -> Tensor:
    return matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + TINY)


def _even(kernels: Tensor) -> Tensor:
    """Return kernels (C, 1, T, H, W) at one length, which together have norm 1."""
    lengths = torch.linalg.vector_norm(kernels, dim=(1, 2, 3, 4), keepdim=True)
    out: Tensor = kernels / (lengths + TINY) / kernels.shape[0] ** 0.5
    return out
