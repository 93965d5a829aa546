"""Measuring: networks side by side, the latency of a space's blocks, and whether a supernet ranks architectures."""

from autovid.measure.bench import Bench, BenchSettings, Figures
from autovid.measure.bench_files import notes, tables, write_bench
from autovid.measure.blocks import block_run, measure_blocks, network_run, predicted, times_of
from autovid.measure.candidates import Candidate, candidate_of, open_candidate
from autovid.measure.machine import hardware, use_threads
from autovid.measure.rank import Ranking, rank
from autovid.measure.supernet import Supernet, open_supernet

__all__ = [
    "Bench",
    "BenchSettings",
    "Candidate",
    "Figures",
    "Ranking",
    "Supernet",
    "block_run",
    "candidate_of",
    "hardware",
    "measure_blocks",
    "network_run",
    "notes",
    "open_candidate",
    "open_supernet",
    "predicted",
    "rank",
    "tables",
    "times_of",
    "use_threads",
    "write_bench",
]
