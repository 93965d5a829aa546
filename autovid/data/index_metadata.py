"""What a CSV index cannot say, in a file beside it: INDEX.about.json for INDEX.csv."""

from pathlib import Path
from typing import Any

import msgspec

from autovid.errors import DataError


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`classes` in the order of the labels, those without a video included; `made`: how the index came to be.

    `flip`: whether a mirrored video keeps its class. `root`: the folder that the paths are relative to, where it is not
    that of the index; it must be absolute.
    """

    classes: tuple[str, ...]
    flip: bool = True
    root: str | None = None
    made: dict[str, Any] = {}


def about_path(index: Path) -> Path:
    """Where the file about an index lies."""
    return index.with_name(index.stem + ".about.json")


def read_about(index: Path) -> About | None:
    """What is known about an index beyond its rows; None where there is no such file. Raises DataError."""
    path = about_path(index)
    if not path.exists():
        return None
    try:
        about = msgspec.json.decode(path.read_bytes(), type=About)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: {error}") from error
    if len(set(about.classes)) < len(about.classes):
        raise DataError(f"{path}: a class is named twice")
    if about.root is not None and not Path(about.root).is_absolute():
        raise DataError(f"{path}: root {about.root!r} must be an absolute path")
    return about
