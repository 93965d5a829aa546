"""What every network is to the rest of autovid."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.nn.residual import Residual


class DoesNotFit(ConfigError):
    """A module was asked of a network that has no place for it."""


class Network(nn.Module):
    """Clips (B, 3, T, H, W), normalised as `clip` says, in; logits (B, classes) out.

    A network samples its own streams from the one clip. `mix` blends the clips of a training batch and their labels
    (CutMix); None for no such thing.
    """

    clip: Clip
    classes: int
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    rms_kernel: tuple[int, int, int] = (3, 3, 3)  # of random mean scaling where no other is asked for

    def blocks(self) -> list[Residual]:
        """The residual blocks that modules can be put into, in order: those of the slow path where there are two.

        Each knows its `stage` and its `index` in it.
        """
        return [module for module in self.modules() if isinstance(module, Residual)]

    def training_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss on clips x with labels y (B,), and the logits (B, classes) for the running accuracy."""
        targets = y
        if self.mix is not None:
            x, targets = self.mix(x, F.one_hot(y, self.classes).float())
        logits: Tensor = self(x)
        return F.cross_entropy(logits.float(), targets), logits


def he_init(net: nn.Module) -> None:
    """He initialisation of every convolution, by fan-out; biases to zero. Norms and classifiers are left alone.

    He et al., "Delving deep into rectifiers" (2015).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            with torch.no_grad():
                module.weight.mul_(module.groups**0.5)  # torch counts what a group does not reach
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def lay_out(net: Network) -> Network:
    """The network with its weights in channels_last_3d, those of 2-D layers in channels_last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in net.parameters():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
    return net
