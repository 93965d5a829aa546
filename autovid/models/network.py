"""What every network is to the rest of autovid."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.residual import Residual

if TYPE_CHECKING:
    from autovid.models.factory import NetworkSpec


class DoesNotFit(ConfigError):
    """A module was asked of a network that has no place for it."""


class Network(nn.Module):
    """Clips (B, 3, T, H, W), normalised as `clip` says, in; logits (B, classes) out.

    A network samples its own streams from the one clip. `mix` blends the clips of a training batch and their labels
    (CutMix); None for no such thing.
    """

    clip: Clip
    classes: int
    spec: "NetworkSpec | None" = None  # what it was built from, if by name
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    label_smoothing: float = 0.0  # of the loss
    rms_kernel: tuple[int, int, int] = (3, 3, 3)  # of random mean scaling where no other is asked for

    def blocks(self) -> list[Residual]:
        """The residual blocks that modules can be put into, in order: those of the slow path where there are two.

        Each knows its `stage` and its `index` in it.
        """
        return [module for module in self.modules() if isinstance(module, Residual)]

    def cam_layer(self) -> nn.Module:
        """The module that gives the last feature map before it is averaged, (B, C, t, h, w) and none of it negative.

        What activation maps are made of (`autovid.report`); of two paths the one that sees fewer frames.
        Raises ConfigError where a network has no such map.
        """
        raise ConfigError(f"{type(self).__name__} has no feature map that activation maps could be made of")

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What that map is a map of: frames (B, 3, t, H, W), normalised, and their places among the clip's, (B, t)."""
        return every_frame(x, 1)

    def begin_step(self, share: float) -> None:
        """Told before every step of training which share of it is done, 0 to 1; for networks that train in stages."""

    def training_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss on clips x with labels y (B,), both through `mix`, and the logits (B, classes) for the accuracy."""
        targets = y
        if self.mix is not None:
            x, targets = self.mix(x, F.one_hot(y, self.classes).float())
        logits: Tensor = self(x)
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing), logits


def every_frame(x: Tensor, step: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Every `step`-th frame of clips (B, 3, T, H, W) from `first` on, and their places (B, t) among the T."""
    places = torch.arange(first, x.shape[2], step, dtype=torch.float32, device=x.device)
    return x[:, :, first::step], places.expand(x.shape[0], -1)


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
