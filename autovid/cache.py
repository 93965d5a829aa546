"""Where autovid keeps what can be made again."""

import contextlib
import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """$AUTOVID_CACHE, else $XDG_CACHE_HOME/autovid, else ~/.cache/autovid."""
    if chosen := os.environ.get("AUTOVID_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autovid"


def keep(name: str, data: bytes) -> None:
    """Writes a file of the cache in one move; does nothing where the cache cannot be written."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
            os.replace(temporary, folder / name)
        except OSError:
            os.unlink(temporary)
            raise
