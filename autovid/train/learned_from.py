"""The videos that runs have learned from: what is trained, compared or drawn beside them learns from the same ones."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from autovid.data.remote import is_address
from autovid.errors import ConfigError, DataError, RunError
from autovid.models import NETWORKS
from autovid.run import RunDirectory
from autovid.train.trained import KIND


class RunsData(NamedTuple):
    """The videos that a run has learned from, and whether it is a search by the proxy."""

    path: Path
    source: str
    proxy: bool


def data_of_runs(places: Iterable[str | Path]) -> RunsData | None:
    """Return what the runs among `places` have learned from, or those whose architectures these are; None without one.

    A search by a table has learned from none. Raises DataError where the videos are not known, as of an earlier
    version, or not there, ConfigError where runs differ.
    """
    runs = [run for place in places if (run := _run_of(place)) is not None and run.config.get("data")]
    known = [RunsData(run.path, _known(run), bool(run.config.get("settings", {}).get("proxy"))) for run in runs]
    if len({one.source for one in known}) > 1:
        text = ", ".join(f"{one.path} from {one.source}" for one in known)
        raise ConfigError(f"the runs have learned from different videos: give --data ({text})")
    return known[0]._replace(proxy=any(one.proxy for one in known)) if known else None


def _run_of(what: str | Path) -> RunDirectory | None:
    path = Path(what)
    if path.is_file() and path.name.startswith("architecture"):
        with suppress(RunError):  # any folder may have such a file
            return RunDirectory.open(path.parent)
    return RunDirectory.open(path) if str(what) not in NETWORKS and (path / "config.yaml").is_file() else None


def _known(run: RunDirectory) -> str:
    source = _source_of(run)
    if not source:
        raise DataError(f"{run.path} has not recorded which videos it learned from: give --data, or --data synthetic")
    if not (source == "synthetic" or is_address(source) or Path(source).exists()):
        raise DataError(f"{run.path} learned from {source}, which is not there any more: put it back, or give --data")
    return source


def _source_of(run: RunDirectory) -> str:
    last = run.latest()
    if last is not None and (source := last.state.info.get("source")):
        return str(source)
    trainings = (RunDirectory.open(file.parent) for file in sorted(run.path.glob("*/config.yaml")))  # of their scores
    sources = (_source_of(one) for one in trainings if one.kind == KIND)
    embedded = "synthetic" if run.config.get("data") == "synthetic" else ""  # of searches that have recorded no more
    return next(filter(None, sources), embedded)
