"""The interface of every network to the rest of autovid."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import Residual

if TYPE_CHECKING:
    from autovid.models.factory import NetworkSpec


class DoesNotFit(ConfigError):
    """A module that a network has no place for."""


class Network(nn.Module):
    """A map of clips (B, 3, T, H, W), normalised as `clip` says, to logits (B, classes).

    A network samples its own streams from the one clip. `mix` blends the clips of a training batch and their labels
    (CutMix), if not None.
    """

    clip: Clip
    classes: int
    spec: "NetworkSpec | None" = None  # of a network built by name
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    label_smoothing: float = 0.0  # of the loss
    has_sampler: bool = False  # a part that learns where to look, whose steps every recipe keeps short
    multi_label: bool = False  # a clip may have several classes: the loss is binary cross-entropy
    rms_kernel: tuple[int, int, int] = (3, 3, 3)  # of random mean scaling by default

    def blocks(self) -> list[Residual]:
        """Return the residual blocks that modules can be put into, in order: of two paths those of the slow one."""
        return [module for module in self.modules() if isinstance(module, Residual)]

    def cam_layer(self) -> nn.Module:
        """Return the module whose output is the last map before averaging, (B, C, t, h, w), nowhere negative.

        Activation maps (`autovid.report`) are computed from it; of two paths the one with fewer frames. Raises
        ConfigError where a network has no such map.
        """
        raise ConfigError(f"{type(self).__name__} has no feature map that activation maps could be made of")

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of that map: frames (B, 3, t, H, W), normalised, and their places in the clip, (B, t)."""
        return every_frame(x, 1)

    def begin_step(self, progress: float) -> None:
        """Prepare a step of training, of which the fraction `progress` is done; for networks that train in stages."""

    def training_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss on clips x with labels y, both through `mix`, and the logits (B, classes).

        y is (B,), or distributions over classes, or for several classes a clip a yes or no of each: (B, classes).
        """
        x, targets = self.mixed(x, y)
        logits: Tensor = self(x)
        if self.multi_label:
            smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
            return F.binary_cross_entropy_with_logits(logits.float(), smooth), logits
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing), logits

    def mixed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return clips and labels through `mix`: then the targets are distributions (B, classes)."""
        if self.mix is None:
            return x, y
        return self.mix(x, F.one_hot(y, self.classes).float() if y.dim() == 1 else y)


class StepNetwork(Network):
    """A network that averages its last map (B, C, T, h, w) over space and classifies every time step."""

    dropout: nn.Dropout
    classifier: nn.Linear

    def __init__(self, classes: int, clip: Clip) -> None:
        super().__init__()
        self.clip, self.classes = clip, classes

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the last map: (B, C, T, h, w)."""
        raise NotImplementedError

    def classify(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w) -> (B, classes): the mean of the time steps' logits."""
        steps_BTC = x.mean((3, 4)).transpose(1, 2)
        logits: Tensor = self.classifier(self.dropout(steps_BTC)).mean(1)
        return logits


def every_frame(x: Tensor, step: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return every `step`-th frame of clips (B, 3, T, H, W) from `first` on, and their places (B, t) among the T."""
    places = torch.arange(first, x.shape[2], step, dtype=torch.float32, device=x.device)
    return x[:, :, first::step], places.expand(x.shape[0], -1)


def he_init(net: nn.Module) -> None:
    """Draw He's initialisation of every convolution, by fan-out; biases become zero. Norms and classifiers stay.

    He et al., "Delving deep into rectifiers", 2015, arXiv 1502.01852.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            with torch.no_grad():
                module.weight.mul_(module.groups**0.5)  # torch counts other groups' outputs, too
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def make_classifier(width: int, classes: int) -> nn.Linear:
    """Return a linear classifier with weights from N(0, 0.01) and zero biases."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, 0.0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer


def lay_out(net: Network) -> Network:
    """Lay the weights of the network out in channels_last_3d, those of 2-D layers in channels_last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in net.parameters():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
    return net
