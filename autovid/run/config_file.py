"""config.yaml of a run directory: the configuration of the run, and how it differs from the one of a command."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from autovid import __version__
from autovid.config import read_yaml
from autovid.errors import ConfigError, RunError
from autovid.plugins import plugin_records

VERSIONS = ("autovid", "torch")  # keys that may differ between two halves of a run
# Those, what changes no result, what follows from the number of workers, and what a run was told after its beginning.
FREE = (*VERSIONS, "cache", "norm_clips", "prolonged")
_ABSENT = "(absent)"


def recorded_versions(config: dict[str, Any]) -> dict[str, str]:
    """Return the versions that a run was begun with; the first runs did not record torch's."""
    return {name: str(config[name]) for name in VERSIONS if name in config}


def full_config(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return `config` as config.yaml gives it back (structs as mappings, tuples as lists), after versions and kind."""
    plugins = {"plugins": records} if (records := plugin_records()) else {}
    plain = json.loads(json.dumps(msgspec.to_builtins({**plugins, **config}, str_keys=True)))
    return {**dict(zip(VERSIONS, (__version__, version("torch")))), "kind": kind, **plain}


def read_config(path: Path) -> dict[str, Any]:
    """Read config.yaml. Raises RunError if it is not one of a run."""
    try:
        config = read_yaml(path).as_type(dict[str, Any])
    except ConfigError as error:
        raise RunError(f"{error} ({path.parent} is not a run directory of autovid, or this file is damaged)") from error
    if not {"kind", "autovid"} <= set(config):
        raise RunError(f"{path.parent} is not a run directory of autovid (config.yaml has no kind); choose another")
    return config


def config_hash(config: dict[str, Any]) -> str:
    """Return the sha256 of everything but the keys in FREE, which may differ between two halves of a run."""
    settings = {key: value for key, value in config.items() if key not in FREE}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def differences(theirs: dict[str, Any], yours: dict[str, Any]) -> list[str]:
    """Return one "search.lr: 0.1 there, 0.05 now" for every key that differs, those in FREE left out."""
    saved, current = _flat(theirs), _flat(yours)
    keys = [key for key in {**saved, **current} if key not in FREE]
    pairs = [(key, saved.get(key, _ABSENT), current.get(key, _ABSENT)) for key in keys]
    return [f"{key}: {old} there, {new} now" for key, old, new in pairs if old != new]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    parts = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in parts for key, item in part.items()}
