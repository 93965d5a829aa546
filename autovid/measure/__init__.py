"""Measurements of time and memory, and the machine that they are made on."""

from autovid.measure.machine import hardware, use_threads

__all__ = [
    "hardware",
    "use_threads",
]
