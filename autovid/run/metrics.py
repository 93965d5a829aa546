"""metrics.jsonl, one JSON object a step, and the same in TensorBoard."""

import json
import math
import os
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from autovid.run.directory import RunDirectory
from autovid.run.files import explained, write_all


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


class MetricsLog:
    """Opens the logs at step `first`: records of it and later ones, and a torn last line, are cut off."""

    def __init__(self, run: RunDirectory, first: int) -> None:
        self._path = run.path / "metrics.jsonl"
        with explained(f"cannot write {self._path}"):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            with self._path.open("rb") as lines:
                os.ftruncate(self._fd, _end_of_records(lines, first))
            self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=first, flush_secs=10)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        with explained(f"cannot write {self._path.parent / 'tensorboard'}"):
            self._board.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Logs the scalars of step `step` (from 0); a value that is not finite becomes null in the file."""
        assert not {"step", "time"} & set(metrics), "names of the log itself"
        values = {name: float(value) for name, value in metrics.items()}
        record = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, **record, "time": round(time.time(), 3)}) + "\n"
        with explained(f"cannot write {self._path}"):
            write_all(self._fd, line.encode())
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def pictures(
        self, step: int, tensors: dict[str, torch.Tensor], images: dict[str, np.ndarray[Any, np.dtype[np.uint8]]]
    ) -> None:
        """Histograms and pictures (height, width, 3) for TensorBoard."""
        with explained(f"cannot write {self._path.parent / 'tensorboard'}"):
            for name, tensor in tensors.items():
                self._board.add_histogram(name, tensor, step)
            for name, image in images.items():
                self._board.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> None:
        """Waits until the disk has every record: a checkpoint must not be ahead of its log."""
        with explained(f"cannot write {self._path}"):
            os.fsync(self._fd)
            self._board.flush()
