"""A hand-designed network as data: its name, options and modules. What an architecture is for the searched ones."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from autovid.config import dump_yaml
from autovid.space.architecture import Architecture
from autovid.space.schema import Reference

Option = bool | int | float | str | list[int]


class NetworkSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"modules": "with"}):
    """What `autovid.build` needs to make a hand-designed network; None is the network's own default."""

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
        """The input at which its figures count."""
        from autovid.models import build_network

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
        """The same with other sizes (None: as they are), and with these options and modules as well."""
        return NetworkSpec(
            network=self.network,
            classes=classes or self.classes,
            frames=frames or self.frames,
            crop=crop or self.crop,
            options={**self.options, **options},
            modules={**self.modules, **{name: dict(given) for name, given in modules.items()}},
        )

    def to_yaml(self) -> str:
        """The text of a file that `autovid train` and `autovid.build` take."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return dump_yaml({key: value for key, value in content.items() if value not in (None, {})})

    def save(self, path: str | Path) -> None:
        """Writes the network as YAML."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.to_yaml(), encoding="utf-8")


Model = Architecture | NetworkSpec
"""What can be built, trained and evaluated: both have a hash, a reference input, and a YAML file."""
