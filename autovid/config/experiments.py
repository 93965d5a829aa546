"""Experiments: YAML files that a command runs as they are. Where they are, and which command they are for."""

from pathlib import Path

from autovid.config.layers import read_layers
from autovid.config.resources import experiments_dir

SIGNS = {"recipe", "dataset", "command"}  # keys that only experiments have, where there is no `format`


def find_experiment(what: str | Path) -> Path | None:
    """The file of an experiment, by its path or as the name of one that comes with autovid; None for anything else."""
    for path in (Path(what), experiments_dir() / f"{what}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            keys = read_layers(path).plain().value
            return path if isinstance(keys, dict) and "format" not in keys and SIGNS & set(keys) else None
    return None


def list_experiments() -> dict[str, dict[str, str]]:
    """What the experiments that come with autovid are about, by name, for each command that they are for."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(experiments_dir().glob("*.yaml")):
        keys = read_layers(path).plain().plain()
        found.setdefault(keys.get("command", "train"), {})[path.stem] = keys.get("about", "")
    return found


def check_command(path: Path, command: str) -> None:
    """Raises ConfigError if the experiment is for another command."""
    layers = read_layers(path)
    other = layers.plain().plain().get("command", "train")
    if other != command:
        raise layers.error(f"this experiment is for another command: autovid {other} {path}", "command")
