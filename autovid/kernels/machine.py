"""Properties of this machine: the faster of two functions, the name of its CPU, its support of bfloat16."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

MARGIN = 1.2


def is_faster(new: Callable[[], object], old: Callable[[], object], seconds: float = 0.08) -> bool:
    """Return True if `new` takes less time than `old` by the factor MARGIN: a busy moment must not decide.

    The two take turns for about `seconds`, at least three times each after a first, uncounted run; the quickest counts.
    On one thread, because threads that wait for each other on a busy machine measure the other programs.
    """
    with threads(1):
        new(), old()
        best_new = best_old = float("inf")
        rounds, end = 0, time.perf_counter() + seconds
        while rounds < 3 or time.perf_counter() < end:
            best_new, best_old = min(best_new, _seconds(new)), min(best_old, _seconds(old))
            rounds += 1
    return best_new * MARGIN < best_old


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads inside; None: with as many as outside."""
    usual = torch.get_num_threads()
    torch.set_num_threads(number or usual)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def cpu_model() -> str:
    """Return the name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_has_bf16() -> bool:
    """Return True if the CPU has instructions for bfloat16 that torch uses (AMX, AVX-512 BF16, Arm BF16)."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
