"""Times of functions: repeats in turns, medians and quartiles."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

Run = Callable[[], object]


def seconds(run: Run, device: torch.device) -> float:
    """Time one call by the clock; on CUDA by events, from the first kernel to the last with the gaps between them."""
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
    """Times of several runs in turns, (repeats, runs) in seconds: other work of the machine disturbs all alike.

    Every other round goes backwards, so that each run has both neighbours.
    """

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        self.runs, self.device = list(runs), device
        self.rounds: list[list[float]] = []

    def warm_up(self, rounds: int) -> None:
        """Call each without counting."""
        for _ in range(rounds):
            for run in self.runs:
                seconds(run, self.device)

    def one_round(self) -> None:
        """Time each once more. A round that is interrupted does not count."""
        order = list(range(len(self.runs)))
        times = [0.0] * len(self.runs)
        for number in order if len(self.rounds) % 2 == 0 else order[::-1]:
            times[number] = seconds(self.runs[number], self.device)
        self.rounds.append(times)

    def quartiles(self, number: int) -> tuple[float, float, float]:
        """Return first quartile, median and third quartile of a run, in seconds."""
        return quartiles([times[number] for times in self.rounds])

    def ratio(self, number: int) -> float:
        """Return the median over the rounds of a run's time over the first one's in the same round."""
        return float(np.median([times[number] / times[0] for times in self.rounds]))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(low), float(middle), float(high)
