"""The hand-designed networks by name: one file of code, one line here; the tests go over the registry.

A maker takes `classes`, `frames`, `crop` and its own options as keywords, and returns a network with `clip` set.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from autovid.models import deep_analysis
from autovid.models.network import Network


class Entry(NamedTuple):
    """How to make a network, and a line about it."""

    make: Callable[..., Network]
    about: str


NETWORKS: dict[str, Entry] = {
    "tsn_resnet50": Entry(partial(deep_analysis.resnet, strategy="tsn", depth=50), "every frame by itself"),
    "tsm_resnet50": Entry(deep_analysis.tsm_resnet50, "channels shifted to the neighbouring frames"),
}
