"""Hand-designed networks as data (`NetworkSpec`), and the one function that builds any network."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import msgspec
import torch

from autovid.config import dump_yaml, read_yaml
from autovid.config.resources import experiments_dir, search_spaces_dir
from autovid.errors import ConfigError, did_you_mean
from autovid.models.builder import SearchNetwork, build_space
from autovid.models.modules import attach, check_options
from autovid.models.network import Network, lay_out
from autovid.models.registry import NETWORKS
from autovid.plugins import load_plugins
from autovid.space import Architecture, SearchSpace, load_architecture
from autovid.space.schema import Reference

Option = bool | int | float | str | list[int]


class NetworkSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"modules": "with"}):
    """A hand-designed network as data; None is the network's own default."""

    network: str
    classes: int | None = None
    frames: int | None = None
    crop: int | None = None
    options: dict[str, Option] = {}
    modules: dict[str, dict[str, Option]] = {}

    @property
    def hash(self) -> str:
        """Twelve hex digits: equal networks, equal hashes; the size of clips and the classes are not the network's."""
        modules = list(self.modules.items())  # in their order, which counts
        content = json.dumps([self.network, self.options, modules], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def reference(self) -> Reference:
        """The input that its figures are for."""
        net = build_network(self, device="meta")
        return Reference.of(net.clip, net.classes)

    def changed(
        self,
        *,
        classes: int | None = None,
        frames: int | None = None,
        crop: int | None = None,
        options: Mapping[str, Option] = {},
        modules: Mapping[str, Mapping[str, Option]] = {},
    ) -> "NetworkSpec":
        """Return a copy with other sizes (None: as they are), and with these options and modules as well."""
        return NetworkSpec(
            network=self.network,
            classes=classes or self.classes,
            frames=frames or self.frames,
            crop=crop or self.crop,
            options={**self.options, **options},
            modules={**self.modules, **{name: dict(own) for name, own in modules.items()}},
        )

    def to_yaml(self) -> str:
        """Return the text of a file that `autovid train` and `autovid.build` take."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return dump_yaml({key: value for key, value in content.items() if value not in (None, {})})

    def save(self, path: str | Path) -> None:
        """Write the network as YAML."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.to_yaml(), encoding="utf-8")


Model = Architecture | NetworkSpec
"""An architecture or a network by name: both have a hash, a reference input, and a YAML file."""

Modules = Sequence[str] | Mapping[str, Mapping[str, Any]]


@overload
def build(
    what: Architecture | SearchSpace, classes: int | None = None, *, plugins: str | Path | Sequence[str | Path] = ()
) -> SearchNetwork: ...
@overload
def build(
    what: NetworkSpec | str | Path,
    classes: int | None = None,
    *,
    frames: int | None = None,
    crop: int | None = None,
    modules: Modules = (),
    plugins: str | Path | Sequence[str | Path] = (),
    **options: Any,
) -> Network: ...
def build(
    what: Architecture | SearchSpace | NetworkSpec | str | Path,
    classes: int | None = None,
    *,
    frames: int | None = None,
    crop: int | None = None,
    modules: Modules = (),
    plugins: str | Path | Sequence[str | Path] = (),
    **options: Any,
) -> Network:
    """Build a network by name, of an architecture or of a YAML file, or the supernet of a space.

    It takes clips (B, 3, T, H, W), normalised as `net.clip` says, and gives logits (B, classes). `frames`, `crop`,
    `modules` (["rms"], or {"rms": {"kernel": 3}}) and options are those of hand-designed networks; `plugins` are files
    of code to run first, with blocks and operations of your own.
    Raises ConfigError for an unknown name, option or module, and for a module that does not fit.
    """
    load_plugins(plugins)
    if isinstance(what, str | Path):
        what = load_model(what)
    if isinstance(what, NetworkSpec):
        added = modules if isinstance(modules, Mapping) else {name: {} for name in modules}
        return build_network(what.changed(classes=classes, frames=frames, crop=crop, options=options, modules=added))
    if frames or crop or modules or options:
        raise ConfigError("frames, crop, modules and options are for networks by name; an architecture has its own")
    return build_space(what.as_space() if isinstance(what, Architecture) else what, classes)


def build_network(spec: NetworkSpec, device: str = "cpu") -> Network:
    """Build the network of a spec, in channels_last_3d. Raises ConfigError."""
    if spec.network not in NETWORKS:
        raise ConfigError(no_network(spec.network))
    make = NETWORKS.load(spec.network)
    sizes = {"classes": spec.classes, "frames": spec.frames, "crop": spec.crop}
    if beside := sorted(sizes.keys() & spec.options):
        raise ConfigError(f"{beside[0]} is given beside the options of a network, not among them")
    options = {**{name: size for name, size in sizes.items() if size is not None}, **spec.options}
    check_options(spec.network, make, options)
    with torch.device(device):
        net: Network = make(**options)
        attach(net, spec.modules, spec.network)
    net.spec = spec
    return lay_out(net)


def no_network(name: str) -> str:
    """Return the message for an unknown network."""
    return f"there is no network {name!r}; {did_you_mean(name, NETWORKS)}autovid list models shows all"


BINARY = (".onnx", ".pt2", ".pt", ".pth", ".safetensors")


def load_model(what: str | Path) -> Model:
    """Load a hand-designed network by its name, or a network or an architecture from a YAML file."""
    if str(what) in NETWORKS:
        return NetworkSpec(network=str(what))
    if not Path(what).suffix and not Path(what).exists():
        for kind, folder in (("a search space", search_spaces_dir()), ("an experiment", experiments_dir())):
            if (folder / f"{what}.yaml").is_file():
                raise ConfigError(f"{what} is {kind}; give a network, an architecture or a run")
        hint = did_you_mean(str(what), NETWORKS)
        raise ConfigError(f"neither a network nor a file is called {str(what)!r}; {hint}autovid list shows all")
    if Path(what).suffix in BINARY:
        raise ConfigError(f"{what} holds weights, not what a network is; give its run, its folder or its YAML file")
    document = read_yaml(what)
    if "network" in (content := document.as_type(dict[str, Any])) and isinstance(content["network"], str):
        spec = document.as_type(NetworkSpec)
        if spec.network not in NETWORKS:
            raise document.error(no_network(spec.network), "network")
        return spec
    return load_architecture(what)
