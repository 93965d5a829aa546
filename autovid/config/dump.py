"""Typed values to YAML text that reads back the same, here and in YAML 1.1 readers."""

import math
import re
from typing import Any

import msgspec
import yaml

from autovid.config.nodes import FLOAT, NOT_FINITE

_SHORT = 100  # characters: lists of scalars up to this stand on one line


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    scalars = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=scalars and len(str(items)) <= _SHORT)


def _represent_float(dumper: _Dumper, number: float) -> yaml.Node:
    if not math.isfinite(number):
        raise ValueError(f"{number} cannot be written to YAML: only finite numbers can be read back")
    return dumper.represent_float(number)


def _represent_str(dumper: _Dumper, text: str) -> yaml.Node:
    # Only double quotes escape: PyYAML's other styles lose some line breaks.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(float, _represent_float)
# SafeDumper quotes text that YAML 1.1 takes for something else; this adds what we take for a number: 1e-3.
_OUR_NUMBER = re.compile(f"(?:{FLOAT.pattern}|{NOT_FINITE.pattern})$", re.IGNORECASE)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _OUR_NUMBER, list("-+.0123456789"))


def dump_yaml(obj: Any) -> str:
    """YAML text of a struct or plain data, keys in the order given, short lists as [1, 3, 5].

    Raises ValueError for a number that is not finite.
    """
    plain = msgspec.to_builtins(obj)
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))
