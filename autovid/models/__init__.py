"""Networks, and how to build them. Names are loaded on first use: the registry alone needs no torch."""

import importlib
from typing import TYPE_CHECKING, Any

from autovid.models.registry import MODULES, NETWORKS

if TYPE_CHECKING:
    from autovid.models.builder import SearchNetwork, build_space, inherit, load_weights
    from autovid.models.factory import Model, NetworkSpec, build, build_network, load_model
    from autovid.models.network import Network

__all__ = [
    "MODULES",
    "NETWORKS",
    "Model",
    "Network",
    "NetworkSpec",
    "SearchNetwork",
    "build",
    "build_network",
    "build_space",
    "inherit",
    "load_model",
    "load_weights",
]

_FILES = dict.fromkeys(("SearchNetwork", "build_space", "inherit", "load_weights"), "builder")
_FILES |= dict.fromkeys(("Model", "NetworkSpec", "build", "build_network", "load_model"), "factory")
_FILES["Network"] = "network"


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(importlib.import_module(f"autovid.models.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
