"""Where the YAML files that come with autovid are: in the checkout, or beside the installed package's code."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def search_spaces_dir() -> Path:
    """The folder of the search spaces that `--space NAME` finds."""
    return _shipped("search_spaces")


def experiments_dir() -> Path:
    """The folder of the experiments: one YAML file, or script, a run of the papers."""
    return _shipped("experiments")


def _shipped(folder: str) -> Path:
    checkout = _PACKAGE.parent
    # The setup.cfg tells our checkout from a site-packages that happens to have such a folder.
    return (checkout if (checkout / "setup.cfg").is_file() else _PACKAGE) / folder
