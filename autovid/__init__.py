"""autovid: neural architecture search for video recognition.

>>> import autovid
>>> space = autovid.load_space("two_stream")
>>> arch = space.sample(1, seed=0, macs=(2.4e9, 2.5e9))[0]
>>> net = autovid.build(arch, classes=400)  # (B, 3, T, H, W) -> (B, 400)
>>> net = autovid.build("tsn_resnet50", classes=174, temporal_pooling=True)
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from autovid.errors import AutovidError

if TYPE_CHECKING:
    from autovid.api import evaluate, predict, search, train
    from autovid.costs.count import count
    from autovid.models import NetworkSpec, build, load_model, load_weights
    from autovid.space import Architecture, SearchSpace, load_architecture, load_space
    from autovid.studies import load_benchmark
    from autovid.weights import import_weights

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "AutovidError",
    "NetworkSpec",
    "SearchSpace",
    "build",
    "count",
    "evaluate",
    "import_weights",
    "load_architecture",
    "load_benchmark",
    "load_model",
    "load_space",
    "load_weights",
    "predict",
    "search",
    "train",
]

_HOMES = {
    "Architecture": "autovid.space",
    "SearchSpace": "autovid.space",
    "load_architecture": "autovid.space",
    "load_space": "autovid.space",
    "NetworkSpec": "autovid.models",
    "build": "autovid.models",
    "load_model": "autovid.models",
    "load_weights": "autovid.models",
    "import_weights": "autovid.weights",
    "count": "autovid.costs.count",
    "load_benchmark": "autovid.studies",
    "evaluate": "autovid.api",
    "predict": "autovid.api",
}
_PACKAGES = ("search", "train")  # which are called, too


class _CallablePackage(ModuleType):
    """A package whose name is a function, too: `autovid.search(...)` beside `autovid.search.strategy`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        function = getattr(importlib.import_module("autovid.api"), self.__name__.rpartition(".")[2])
        return function(*arguments, **options)


def callable_package(name: str) -> None:
    """Let calls of the package `name` go to the function of that name in autovid.api."""
    sys.modules[name].__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    """Load what is asked for on first use, so that `import autovid` costs nothing."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"autovid.{name}")
    raise AttributeError(f"module 'autovid' has no attribute {name!r}")
