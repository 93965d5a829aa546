"""autovid runs: the runs of a folder, what they came to, and what to type next. Reads small files, and no torch."""

import argparse
import contextlib
import fcntl
import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from autovid.cli.options import board_line
from autovid.cli.training import recipe_words
from autovid.errors import ConfigError, RunError

SHOWN = 10  # next commands, those of the newest runs
STEP = re.compile(r" step (\d+) of (\d+): (.*)")


class RunRow(NamedTuple):
    """A run: its kind, state, accuracy in percent, GFLOPs, age in seconds, and the next command.

    The accuracy is that on val, in the centre view: mAP where videos may have several classes, else top-1.
    """

    name: str
    kind: str
    state: str
    top1: float | None
    mean_ap: float | None
    gflops: float | None
    age: float
    next: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print a table, the newest run first, and the next commands."""

    if not args.folder.is_dir():
        raise RunError(f"{args.folder}: no such folder; give the one that holds run directories")
    rows = sorted(_rows(args.folder), key=lambda row: row.age)
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return 0
    if not rows:
        print(f"no runs in {args.folder}; autovid search makes one")
        return 0
    _show(rows, args.folder)
    return 0


def _show(rows: list[RunRow], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("run", "kind", "state", "on val", "GFLOPs", "age"):
        table.add_column(name, justify="left" if name in ("run", "kind", "state") else "right", overflow="fold")
    for row in rows:
        gflops = "" if row.gflops is None else f"{row.gflops:.4g}"
        table.add_row(row.name, row.kind, row.state, _accuracy(row), gflops, _age(row.age))
    console = Console()
    console.print(table, markup=False)
    steps = [row.next for row in rows[:SHOWN] if row.next]
    for number, line in enumerate(steps):
        console.print(f"{'next' if number == 0 else '    '}   {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(board_line(folder), markup=False, highlight=False, soft_wrap=True)


def _accuracy(row: RunRow) -> str:
    if row.mean_ap is not None:
        return f"mAP {row.mean_ap:.2f} %"
    return "" if row.top1 is None else f"{row.top1:.2f} %"


def _age(seconds: float) -> str:
    for unit, size, most in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _rows(folder: Path) -> Iterator[RunRow]:
    from autovid.config import read_yaml

    for file in [*folder.glob("config.yaml"), *folder.glob("*/config.yaml")]:
        with contextlib.suppress(ConfigError, OSError):  # no run of ours
            config = read_yaml(file).as_type(dict[str, Any])
            if "autovid" in config and "kind" in config:
                yield _row(file.parent, config)


def _row(path: Path, config: dict[str, Any]) -> RunRow:
    log = _log(path)
    kind, inside = config["kind"], _trainings(config)
    data = config.get("data") or next((one.get("data") for one in inside.values()), None)
    if kind == "search" and config.get("settings", {}).get("score") == "training":
        kind = "random-baseline"
    measured = [one for name, own in {"": config, **inside}.items() if (one := _center(path / name, own))]
    best = max(measured, key=_score, default={})
    gflops = best.get("gflops_per_view")
    if kind == "search":  # at the reference input; the supernet may have seen smaller clips
        gflops = _gflops(path) or gflops
    files = [file for name in ("log.txt", "metrics.jsonl", "config.yaml") if (file := path / name).is_file()]
    changed = max(file.stat().st_mtime for file in files)
    state = _state(path, kind, log)
    name = data["name"] if isinstance(data, dict) else data
    return RunRow(
        path.name, f"{kind} on {name}" if name else kind, state, None if "mean_ap" in best else best.get("top1"),
        best.get("mean_ap"), gflops or _gflops(path), max(0.0, time.time() - changed),
        _next(path, config, kind, state, log),
    )  # fmt: skip


def _trainings(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the configurations of the trainings in a sweep or a comparison, by the names of their folders."""
    return {name: one for name, one in config.items() if isinstance(one, dict) and "recipe" in one}


def _evaluations(path: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the accuracies of a run on its own val, of the checkpoint that it is told by (autovid.train.evaluate)."""
    data, best = config.get("data"), _best(path)
    own = (data["name"], data["fingerprint"]) if isinstance(data, dict) else (data, config.get("data_fingerprint"))
    read = [json.loads(file.read_text()) for file in path.glob("evaluation-*.json")]
    return [
        {key: value for key, value in one.items() if value is not None}
        for one in read
        if one["split"] == "val"
        and (own[1] is None or (one["data"], one["fingerprint"]) == own)
        and one["step"] == (best or one["step"])
    ]


def _center(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    return next((one for one in _evaluations(path, config) if one["views"] == "center"), {})


def _score(evaluation: dict[str, Any]) -> float:
    return float(evaluation.get("mean_ap", evaluation["top1"]))


def _checkpoints(path: Path) -> dict[int, Path]:
    """Return the folders of checkpoints by their steps, the newest first (autovid.run.directory, which needs torch)."""
    folders = path.glob("checkpoints/step-*")
    steps = {int(folder.name[5:]): folder for folder in folders if re.fullmatch(r"step-\d{6,}", folder.name)}
    return dict(sorted(steps.items(), reverse=True))


def _best(path: Path) -> int | None:
    """Return the step of the best checkpoint as the newest one knows it, or of the newest; None without any."""
    checkpoints = _checkpoints(path)
    for folder in checkpoints.values():
        with contextlib.suppress(OSError, ValueError):
            if (best := json.loads((folder / "manifest.json").read_text()).get("best")) is not None:
                return int(best)
    return next(iter(checkpoints), None)


def _log(path: Path) -> str:
    file = path / "log.txt"
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _state(path: Path, kind: str, log: str) -> str:
    """Return running, finished, stopped or failed, with the step where it is not finished."""
    steps = STEP.findall(log)
    at, of, how = steps[-1] if steps else ("0", "", "")
    where = f" at step {at} of {of}" if of else ""
    if _locked(path / ".lock"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            at = str(json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["step"] + 1)
            where = f" at step {at} of {of}"
        return f"running{where}"
    if kind == "train":
        finished = (path / "evaluation-center.json").is_file() and how == "finished"
    elif kind == "rank":
        finished = (path / "rank.json").is_file()
    elif kind == "compare":
        finished = _compared(path / "standings.json")
    elif kind == "sweep":
        finished = _swept(path)
    else:
        finished = (path / "architecture.yaml").is_file() and how in ("finished", "")
    if finished:
        return "finished"
    if failure := re.search(r" step (\d+): (\w+): ", log.splitlines()[-1] if log else ""):
        return f"failed ({failure[2]}) at step {failure[1]} of {of}"
    return f"stopped{where}"


def _compared(file: Path) -> bool:
    """Tell whether every network of a comparison has an accuracy, or has diverged."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return all(one["top1"] is not None or one["failed"] for one in json.loads(file.read_text()))
    return False


def _swept(path: Path) -> bool:
    """Tell whether every training of a sweep has an accuracy, or was ended early."""
    from autovid.config import read_yaml

    with contextlib.suppress(OSError, ValueError):
        done = [one for one in json.loads((path / "trials.json").read_text()) if not one.get("failed")]
        return len(done) == len(_trainings(read_yaml(path / "config.yaml").as_type(dict[str, Any])))
    return False


def _locked(lock: Path) -> bool:
    """Tell whether a process works in the run directory now."""
    if not lock.is_file():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _gflops(path: Path) -> float | None:
    """Return the cost that architecture.yaml has."""
    from autovid.config import read_yaml

    with contextlib.suppress(ConfigError, OSError, KeyError, TypeError):
        return float(read_yaml(path / "architecture.yaml").as_type(dict[str, Any])["cost"]["macs"]) / 1e9
    return None


def _next(path: Path, config: dict[str, Any], kind: str, state: str, log: str) -> str:
    """Return the command that goes on, or that uses what is finished; nothing for a run at work."""
    where = shlex.quote(str(path))
    if state.startswith("running"):
        return ""
    if state != "finished":
        return log.rpartition(" goes on with: ")[2].partition("\n")[0] if " goes on with: " in log else ""
    if kind == "search":
        settings = config.get("settings", {})
        recipe = recipe_words(*(settings.get(name, 0) for name in ("proxy", "batch", "balance")))
        source = _source(path)
        return f"autovid train {where}" + (f" --data {shlex.quote(source)}{recipe}" if source != "synthetic" else "")
    if kind in ("compare", "sweep"):
        return ""  # its page or its table is there
    if kind == "train":  # it ends with its centre view
        views = {one["views"] for one in _evaluations(path, config)}
        return f"autovid evaluate {where} --views 10-lcr" if views <= {"center"} else f"autovid report {where}"
    return f"autovid report {where}"


def _source(path: Path) -> str:
    """Return the videos of a run, as its newest checkpoint has them."""
    with contextlib.suppress(OSError, ValueError):
        files = [file for folder in _checkpoints(path).values() if (file := folder / "state.json").is_file()]
        return str(json.loads(files[0].read_text()).get("source", "synthetic")) if files else "synthetic"
    return "synthetic"
