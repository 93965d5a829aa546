"""metrics.jsonl, one JSON object a step, and the same in TensorBoard; beside it probabilities.jsonl, now and then."""

import json
import math
import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from autovid.fileio import explained, write_all
from autovid.run.directory import RunDirectory


class MetricsLog:
    """The logs of a run, opened at step `first`: records of it and later ones, and a torn last line, are cut off."""

    def __init__(self, run: RunDirectory, first: int) -> None:
        self._path, self._first = run.path, first
        self._files: dict[str, _JsonLines] = {}
        self._file("metrics.jsonl")
        if (run.path / "probabilities.jsonl").exists():  # a run without probabilities never gets one
            self._file("probabilities.jsonl")
        with self._explained():
            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=first, flush_secs=10)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file.fd)
        with self._explained():
            self._board.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Log the scalars of step `step` (from 0); a value that is not finite becomes null in the file."""
        assert not {"step", "time"} & set(metrics), "names of the log itself"
        values = {name: float(value) for name, value in metrics.items()}
        record = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file("metrics.jsonl").write({"step": step, **record, "time": round(time.time(), 3)})
        with self._explained():
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def probabilities(self, step: int, learned: dict[str, list[float]]) -> None:
        """Log the distributions of the task after step `step`."""
        self._file("probabilities.jsonl").write({"step": step, **learned})

    def pictures(
        self, step: int, tensors: dict[str, torch.Tensor], images: dict[str, np.ndarray[Any, np.dtype[np.uint8]]]
    ) -> None:
        """Log histograms and pictures (height, width, 3) to TensorBoard."""
        with self._explained():
            for name, tensor in tensors.items():
                self._board.add_histogram(name, tensor, step)
            for name, image in images.items():
                self._board.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> None:
        """Wait until the disk has every record: a checkpoint must not be ahead of its log."""
        for file in self._files.values():
            with explained(f"cannot write {file.path}"):
                os.fsync(file.fd)
        with self._explained():
            self._board.flush()

    def _file(self, name: str) -> "_JsonLines":
        if name not in self._files:
            self._files[name] = _JsonLines(self._path / name, self._first)
        return self._files[name]

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"cannot write {self._path / 'tensorboard'}")


class _JsonLines:
    """A file of JSON objects, opened at step `first`: those of it and later ones, and a torn last line, are cut off."""

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        with explained(f"cannot write {path}"):
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            with path.open("rb") as lines:
                os.ftruncate(self.fd, _end_of_records(lines, first))

    def write(self, record: dict[str, Any]) -> None:
        with explained(f"cannot write {self.path}"):
            write_all(self.fd, (json.dumps(record) + "\n").encode())


def _end_of_records(lines: Iterable[bytes], first: int) -> int:
    """Return the number of bytes up to and with the last whole record of a step before `first`."""
    end = position = 0
    for line in lines:
        position += len(line)
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] < first:
                end = position
        except (ValueError, KeyError, TypeError):
            continue
    return end
