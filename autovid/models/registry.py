"""The hand-designed networks by name: one file of code, one line here; the tests go over the registry.

A maker takes `classes`, `frames`, `crop` and its own options as keywords, and returns a network with `clip` set.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from autovid.models import deep_analysis, images
from autovid.models.network import Network


class Entry(NamedTuple):
    """How to make a network, and a line about it."""

    make: Callable[..., Network]
    about: str


NETWORKS: dict[str, Entry] = {
    **{
        f"{strategy}_{backbone}": Entry(partial(make, strategy=strategy), f"{about}; {title}, 8 frames")
        for strategy, about in deep_analysis.STRATEGIES.items()
        for backbone, (make, title) in deep_analysis.BACKBONES.items()
    },
    "tsm_resnet50": Entry(
        deep_analysis.tsm_resnet50, f"{deep_analysis.STRATEGIES['tsm']}; ResNet-50, 8 frames; or non-local blocks, too"
    ),
    "resnet50_imagenet": Entry(images.resnet50_imagenet, "ResNet-50 for images: clips of one frame"),
    "resnet110_cifar": Entry(images.resnet110_cifar, "ResNet-110 for images of 32 x 32: clips of one frame"),
}
