"""Layers that rest for the first epochs of a training: their weights, and the statistics of their batch norms."""

from fnmatch import fnmatchcase

from torch import nn

from autovid.errors import ConfigError, did_you_mean
from autovid.models.weights import HEAD
from autovid.train.presets import Freeze

BODY = "body"  # everything but the classifier


class FrozenLayers:
    """What `freeze` names in a network, for the first `steps` steps of a training. Raises ConfigError."""

    def __init__(self, net: nn.Module, freeze: Freeze, steps: int) -> None:
        check_layers(net, freeze)
        self._steps = steps
        self._weights = [
            weight for name, weight in net.named_parameters() if weight.requires_grad and _in(name, freeze)
        ]
        self._norms = [
            module
            for name, module in net.named_modules()
            if hasattr(module, "running_var") and _in(f"{name}.running_var", freeze)
        ]

    def prepare(self, index: int) -> None:
        """Freeze or thaw for step `index`, of a network in training mode."""
        resting = index < self._steps
        for weight in self._weights:
            weight.requires_grad_(not resting)
        for norm in self._norms if resting else ():
            norm.eval()  # normalises by its statistics, and leaves them alone


def check_layers(net: nn.Module, freeze: Freeze) -> None:
    """Raise ConfigError for a layer that the network lacks, or where none is left to learn."""
    names = [name for name, _ in net.named_parameters()]
    for layer in freeze.layers:
        if not any(_in(name, Freeze((layer,))) for name in names):
            known = [name for name, _ in net.named_modules() if name]
            raise ConfigError(
                f"freeze: this network has no layer {layer!r}; {did_you_mean(layer, known)}give {BODY}, or names or "
                f"patterns such as {known[0]}, {known[len(known) // 2]}"
            )
    if freeze.layers and all(_in(name, freeze) for name in names):
        raise ConfigError("freeze: no layer is left that could learn; give fewer")


def _in(name: str, freeze: Freeze) -> bool:
    """Tell whether a tensor is of one of the layers."""
    return any(
        not HEAD.match(name) if layer == BODY else fnmatchcase(name, layer) or fnmatchcase(name, f"{layer}.*")
        for layer in freeze.layers
    )
