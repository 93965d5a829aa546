"""The optimizer that a recipe asks for: which weights decay, and which learn at a rate of their own.

The kinds of weights are those of the TSM repository's `get_optim_policies`, of MMAction2's TSMOptimWrapperConstructor,
which is made after it, and of S2DNet's authors' `get_optim_policies`.
"""

import re

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autovid.blocks.elastic import ElasticBatchNorm
from autovid.errors import ConfigError
from autovid.models.weights import HEAD
from autovid.train.recipe import Recipe

BETA2 = 0.999
PARTS = {"classifier": HEAD, "context": re.compile(r"^context\."), "sampler": re.compile(r"^locator\.")}


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make SGD with momentum, or AdamW, over groups of weights; `rate` is a group's multiple of the learning rate.

    Fused: 5 times as fast on CPUs (650 tensors). The first two groups are always there, in this order, and are all
    there are where the recipe sets nothing apart: what runs from before other groups have saved can be resumed.
    """
    norms = {
        id(p)
        for module in net.modules()
        if isinstance(module, ElasticBatchNorm | _BatchNorm)
        for p in module.parameters()
    }
    decay = {"weights": recipe.weight_decay, "biases": recipe.weight_decay * recipe.bias_decay}
    decay["norms"] = recipe.weight_decay * recipe.norm_decay
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {
        (False, 1.0, decay["weights"]): [],
        (True, 1.0, decay["norms"]): [],
    }
    for name, weight in net.named_parameters():
        kind = "norms" if id(weight) in norms else "biases" if name.endswith("bias") else "weights"
        groups.setdefault((kind == "norms", _rate(name, kind, recipe), decay[kind]), []).append(weight)
    options = [{"params": params, "weight_decay": decay, "rate": rate} for (_, rate, decay), params in groups.items()]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(options, lr=recipe.lr, betas=(recipe.momentum, BETA2), fused=True)
    return torch.optim.SGD(options, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def _rate(name: str, kind: str, recipe: Recipe) -> float:
    """Return the multiple for a weight. A bias of the classifier has both, one of the sampler the sampler's alone."""
    multiples = recipe.lr_multiples
    part = next((part for part, pattern in PARTS.items() if pattern.match(name)), None)
    if part == "sampler":
        return multiples.sampler
    rate: float = getattr(multiples, part) if part else 1.0
    return rate * multiples.biases if kind == "biases" else rate


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its multiple of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("rate", 1.0)  # groups that an older checkpoint has brought say nothing


def check_parts(net: nn.Module, recipe: Recipe) -> None:
    """Raise ConfigError where the recipe has a learning rate for a part that the network lacks."""
    names = [name for name, _ in net.named_parameters()]
    for part, pattern in PARTS.items():
        if getattr(recipe.lr_multiples, part) != 1 and not any(map(pattern.match, names)):
            raise ConfigError(f"lr_multiples.{part}: this network has no {part}; leave it out of the recipe")
