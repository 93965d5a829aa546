"""Networks, and how to build them."""

from pathlib import Path

from autovid.models.builder import SearchNetwork, build_space, inherit
from autovid.space import Architecture, SearchSpace, load_architecture

__all__ = ["SearchNetwork", "build", "build_space", "inherit"]


def build(what: Architecture | SearchSpace | str | Path, classes: int | None = None) -> SearchNetwork:
    """The network of an architecture (an object or a YAML file), or the supernet of a search space.

    It takes clips (B, 3, T, H, W), normalised as `net.clip` says, and gives logits (B, classes).
    """
    if isinstance(what, str | Path):
        what = load_architecture(what)
    return build_space(what.as_space() if isinstance(what, Architecture) else what, classes)
