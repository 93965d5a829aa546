"""Networks, and how to build them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch

from autovid.config import read_yaml
from autovid.errors import ConfigError
from autovid.models.builder import SearchNetwork, build_space, inherit
from autovid.models.modules import MODULES, attach
from autovid.models.network import Network, lay_out
from autovid.models.options import check_options
from autovid.models.registry import NETWORKS
from autovid.models.spec import NetworkSpec
from autovid.space import Architecture, SearchSpace, load_architecture

__all__ = [
    "MODULES",
    "NETWORKS",
    "Network",
    "NetworkSpec",
    "SearchNetwork",
    "build",
    "build_network",
    "build_space",
    "inherit",
    "load_model",
]

Modules = Sequence[str] | Mapping[str, Mapping[str, Any]]


@overload
def build(what: Architecture | SearchSpace, classes: int | None = None) -> SearchNetwork: ...
@overload
def build(
    what: NetworkSpec | str | Path,
    classes: int | None = None,
    *,
    frames: int | None = None,
    crop: int | None = None,
    modules: Modules = (),
    **options: Any,
) -> Network: ...
def build(
    what: Architecture | SearchSpace | NetworkSpec | str | Path,
    classes: int | None = None,
    *,
    frames: int | None = None,
    crop: int | None = None,
    modules: Modules = (),
    **options: Any,
) -> Network:
    """A hand-designed network by name, the network of an architecture or of a YAML file, or the supernet of a space.

    It takes clips (B, 3, T, H, W), normalised as `net.clip` says, and gives logits (B, classes). `frames`, `crop`,
    `modules` (["rms"], or {"rms": {"kernel": 3}}) and options are those of hand-designed networks.
    Raises ConfigError for an unknown name, option or module, and for a module that does not fit.
    """
    if isinstance(what, str | Path):
        what = NetworkSpec(network=str(what)) if str(what) in NETWORKS else load_model(what)
    if isinstance(what, NetworkSpec):
        asked = modules if isinstance(modules, Mapping) else {name: {} for name in modules}
        return build_network(
            NetworkSpec(
                network=what.network,
                classes=classes or what.classes,
                frames=frames or what.frames,
                crop=crop or what.crop,
                options={**what.options, **options},
                modules={**what.modules, **{name: dict(given) for name, given in asked.items()}},
            )
        )
    if frames or crop or modules or options:
        raise ConfigError("frames, crop, modules and options are for networks by name; an architecture has its own")
    return build_space(what.as_space() if isinstance(what, Architecture) else what, classes)


def build_network(spec: NetworkSpec, device: str = "cpu") -> Network:
    """The network that a spec asks for, in channels_last_3d. Raises ConfigError."""
    if spec.network not in NETWORKS:
        raise ConfigError(f"there is no network {spec.network!r}; autovid list models shows those that there are")
    make = NETWORKS[spec.network].make
    sizes = {"classes": spec.classes, "frames": spec.frames, "crop": spec.crop}
    given = {**{name: size for name, size in sizes.items() if size is not None}, **spec.options}
    check_options(spec.network, make, given)
    with torch.device(device):
        net = make(**given)
        attach(net, spec.modules, spec.network)
    return lay_out(net)


def load_model(path: str | Path) -> Architecture | NetworkSpec:
    """Reads the YAML file of an architecture or of a hand-designed network."""
    if not Path(path).suffix and not Path(path).exists():
        raise ConfigError(f"there is no network {str(path)!r}, nor such a file; autovid list models shows the names")
    document = read_yaml(path)
    if "network" in (content := document.as_type(dict[str, Any])) and isinstance(content["network"], str):
        spec = document.as_type(NetworkSpec)
        if spec.network not in NETWORKS:
            raise document.error("there is no such network; autovid list models shows those that there are", "network")
        return spec
    return load_architecture(path)
