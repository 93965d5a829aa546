"""Measuring: time, memory, and the machine that figures are of."""

from autovid.measure.machine import hardware, use_threads

__all__ = [
    "hardware",
    "use_threads",
]
