"""The YAML files that come with autovid, in the checkout or beside the installed package's code: spaces, experiments.

An experiment is a YAML file that a command runs as it is.
"""

from pathlib import Path

from autovid.config.document import read_layers

_PACKAGE = Path(__file__).resolve().parents[1]
SIGNS = {"recipe", "dataset", "command"}  # keys that only experiments have, where there is no `format`


def search_spaces_dir() -> Path:
    """Return the folder of the search spaces that `--space NAME` finds."""
    return _shipped("search_spaces")


def experiments_dir() -> Path:
    """Return the folder of the experiments: one YAML file, or script, a run of the papers."""
    return _shipped("experiments")


def _shipped(folder: str) -> Path:
    checkout = _PACKAGE.parent
    # The setup.cfg tells our checkout from a site-packages that happens to have such a folder.
    return (checkout if (checkout / "setup.cfg").is_file() else _PACKAGE) / folder


def find_experiment(name: str | Path) -> Path | None:
    """Return the file of an experiment, by its path or its name in `experiments_dir`; None for anything else."""
    for path in (Path(name), experiments_dir() / f"{name}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            keys = read_layers(path).plain().value
            return path if isinstance(keys, dict) and "format" not in keys and SIGNS & set(keys) else None
    return None


def list_experiments() -> dict[str, dict[str, str]]:
    """Return the sentences about the experiments of `experiments_dir`, by command and name."""
    abouts: dict[str, dict[str, str]] = {}
    for path in sorted(experiments_dir().glob("*.yaml")):
        keys = read_layers(path).plain().plain()
        abouts.setdefault(keys.get("command", "train"), {})[path.stem] = keys.get("about", "")
    return abouts


def check_command(path: Path, command: str) -> None:
    """Raise ConfigError if the experiment is for another command."""
    layers = read_layers(path)
    other = layers.plain().plain().get("command", "train")
    if other != command:
        raise layers.error(f"this experiment is for another command: autovid {other} {path}", "command")
