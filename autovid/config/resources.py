"""Where the shipped files lie."""

from pathlib import Path


def search_spaces_dir() -> Path:
    """The folder of the shipped search spaces."""
    return Path(__file__).resolve().parents[2] / "search_spaces"
