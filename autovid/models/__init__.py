"""Networks, and how to build them."""

from autovid.models.builder import SearchNetwork, build_space, inherit
from autovid.models.factory import Model, NetworkSpec, build, build_network, load_model
from autovid.models.modules import MODULES
from autovid.models.network import Network
from autovid.models.registry import NETWORKS
from autovid.models.weights import load_weights

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
