"""Studies of many networks: benchmarks, rankings, sweeps, the random baseline."""

from autovid.studies.bench import Bench, BenchRow, BenchSettings
from autovid.studies.bench_files import notes, tables, write_bench
from autovid.studies.block_latency import block_run, measure_blocks, network_run, predicted, times_of
from autovid.studies.comparison import Comparison, Entry
from autovid.studies.measured import MeasuredNetwork, measured_network, open_measured
from autovid.studies.random_baseline import Rival, Trainer, find_rival, random_baseline, range_around
from autovid.studies.rank import Ranking, rank
from autovid.studies.supernet import Supernet, open_supernet

__all__ = [
    "Bench",
    "BenchRow",
    "BenchSettings",
    "Comparison",
    "Entry",
    "MeasuredNetwork",
    "Ranking",
    "Rival",
    "Supernet",
    "Trainer",
    "block_run",
    "find_rival",
    "measure_blocks",
    "measured_network",
    "network_run",
    "notes",
    "open_measured",
    "open_supernet",
    "predicted",
    "random_baseline",
    "range_around",
    "rank",
    "tables",
    "times_of",
    "write_bench",
]
