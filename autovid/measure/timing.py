"""How long something takes: repeats that take turns, medians and quartiles."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

Run = Callable[[], object]


def seconds(run: Run, device: torch.device) -> float:
    """Of one call: by events on CUDA, which time the device alone; elsewhere by the clock."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            run()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) / 1e3
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


class Turns:
    """Times of several runs that take turns, (repeats, runs) in seconds: what the machine does besides hits all alike.

    Every other round goes backwards, so that each run has both neighbours.
    """

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        self.runs, self.device = list(runs), device
        self.rounds: list[list[float]] = []

    def warm_up(self, rounds: int) -> None:
        """Calls that are not counted."""
        for _ in range(rounds):
            for run in self.runs:
                seconds(run, self.device)

    def one_round(self) -> None:
        """Each once more. A round that is interrupted does not count."""
        order = list(range(len(self.runs)))
        found = [0.0] * len(self.runs)
        for number in order if len(self.rounds) % 2 == 0 else order[::-1]:
            found[number] = seconds(self.runs[number], self.device)
        self.rounds.append(found)

    def quartiles(self, number: int) -> tuple[float, float, float]:
        """First quartile, median and third quartile of a run, in seconds."""
        return quartiles([found[number] for found in self.rounds])

    def ratio(self, number: int) -> float:
        """The median over the rounds of a run's time over the first one's in the same round."""
        return float(np.median([found[number] / found[0] for found in self.rounds]))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(low), float(middle), float(high)
