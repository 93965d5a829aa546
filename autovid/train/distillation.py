"""Distillation: a network learns from what a trained one says of the same clips, as well as from their labels.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, arXiv 1503.02531: the loss is a weighted
mean of the usual one and of the cross-entropy between the two softmaxes at a temperature, times its square, so that
gradients keep their size. Both see the very same clips, blended as the recipe says ("Knowledge distillation: a good
teacher is patient and consistent", Beyer et al., 2022, arXiv 2106.05237). Ours: where clips have several classes,
sigmoids stand for the softmax; the divergence from the teacher is taken, whose entropy is no part of the gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from autovid.models import Network
from autovid.train.presets import Distillation


class Teacher:
    """A trained network, in evaluation mode, that `settings` say how to learn from."""

    def __init__(self, net: Network, settings: Distillation) -> None:
        self._net, self._settings = net.eval().requires_grad_(False), settings

    def logits(self, x: Tensor) -> Tensor:
        """Return what it says of clips: (B, classes)."""
        with torch.no_grad():
            said: Tensor = self._net(x)
        return said.float()

    def loss(self, usual: Tensor, logits: Tensor, said: Tensor) -> Tensor:
        """Blend the usual loss with the divergence of `logits` from what the teacher said, both (B, classes)."""
        temperature, weight = self._settings.temperature, self._settings.weight
        soft, goal = logits.float() / temperature, said / temperature
        if self._net.multi_label:
            apart = F.binary_cross_entropy_with_logits(soft, goal.sigmoid())
            apart = apart - F.binary_cross_entropy_with_logits(goal, goal.sigmoid())
        else:
            apart = F.kl_div(soft.log_softmax(1), goal.log_softmax(1), reduction="batchmean", log_target=True)
        return (1 - weight) * usual + weight * temperature**2 * apart
