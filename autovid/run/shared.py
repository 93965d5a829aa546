"""The run directory of a run that several workers do together."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autovid import distributed
from autovid.run.directory import RunDirectory


@contextlib.contextmanager
def shared_run(path: str | Path, config: dict[str, Any], *, kind: str, resume: bool = False) -> Iterator[RunDirectory]:
    """`RunDirectory.create_or_resume` by the first worker; the others get a directory that is not `locked`.

    They need not see the disk that it is on. What it raises is raised on all.
    """
    held: list[RunDirectory] = []

    def take() -> dict[str, Any]:
        held.append(RunDirectory.create_or_resume(path, config, kind=kind, resume=resume))
        return held[0].config

    found = distributed.from_first(take)
    with held[0] if held else RunDirectory(Path(path), found, None) as run:
        yield run
