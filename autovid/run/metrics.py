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


def _end_of_records(lines: Iterable[bytes], first: int) -> int:
    """The number of bytes up to and with the last whole record of a step before `first`."""
    end = position = 0
    for line in lines:
        position += len(line)
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] < first:
                end = position
        except (ValueError, KeyError, TypeError):
            continue
    return end


class _Lines:
    """A file of JSON objects, opened at step `first`: those of it and later ones, and a torn last line, are cut off."""

    def __init__(self, path: Path, first: int) -> None:
        self._path = path
        with explained(f"cannot write {path}"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            with path.open("rb") as lines:
                os.ftruncate(self._fd, _end_of_records(lines, first))

    def write(self, record: dict[str, Any]) -> None:
        with explained(f"cannot write {self._path}"):
            write_all(self._fd, (json.dumps(record) + "\n").encode())

    def sync(self) -> None:
        with explained(f"cannot write {self._path}"):
            os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class MetricsLog:
    """Opens the logs at step `first`: records of it and later ones, and a torn last line, are cut off."""

    def __init__(self, run: RunDirectory, first: int) -> None:
        self._path, self._first = run.path, first
        self._metrics = _Lines(run.path / "metrics.jsonl", first)
        self._probabilities: _Lines | None = None
        if self._probabilities_file.exists():
            self._probabilities = _Lines(self._probabilities_file, first)
        with self._explained():
            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=first, flush_secs=10)

    @property
    def _probabilities_file(self) -> Path:
        return self._path / "probabilities.jsonl"

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"cannot write {self._path / 'tensorboard'}")

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._metrics.close()
        if self._probabilities is not None:
            self._probabilities.close()
        with self._explained():
            self._board.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Logs the scalars of step `step` (from 0); a value that is not finite becomes null in the file."""
        assert not {"step", "time"} & set(metrics), "names of the log itself"
        values = {name: float(value) for name, value in metrics.items()}
        record = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write({"step": step, **record, "time": round(time.time(), 3)})
        with self._explained():
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def probabilities(self, step: int, found: dict[str, list[float]]) -> None:
        """Records what the task believes after step `step`, in a file that runs without any never have."""
        if self._probabilities is None:
            self._probabilities = _Lines(self._probabilities_file, self._first)
        self._probabilities.write({"step": step, **found})

    def pictures(
        self, step: int, tensors: dict[str, torch.Tensor], images: dict[str, np.ndarray[Any, np.dtype[np.uint8]]]
    ) -> None:
        """Histograms and pictures (height, width, 3) for TensorBoard."""
        with self._explained():
            for name, tensor in tensors.items():
                self._board.add_histogram(name, tensor, step)
            for name, image in images.items():
                self._board.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> None:
        """Waits until the disk has every record: a checkpoint must not be ahead of its log."""
        self._metrics.sync()
        if self._probabilities is not None:
            self._probabilities.sync()
        with self._explained():
            self._board.flush()
