"""Measuring: networks side by side, the latency of a space's blocks, and whether a supernet ranks architectures."""

from autovid.measure.bench import Bench, BenchSettings, Figures
from autovid.measure.bench_files import notes, tables, write_bench
from autovid.measure.blocks import block_run, measure_blocks, network_run, predicted, times_of
from autovid.measure.candidates import Candidate, open_candidate
from autovid.measure.machine import hardware, use_threads

__all__ = [
    "Bench",
    "BenchSettings",
    "Candidate",
    "Figures",
    "block_run",
    "hardware",
    "measure_blocks",
    "network_run",
    "notes",
    "open_candidate",
    "predicted",
    "tables",
    "times_of",
    "use_threads",
    "write_bench",
]
