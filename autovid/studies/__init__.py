"""Studies of many networks: benchmarks, rankings, sweeps, the random baseline."""

from autovid.studies.bench import Bench, BenchRow, BenchSettings
from autovid.studies.bench_files import notes, tables, write_bench
from autovid.studies.block_latency import block_run, measure_blocks, network_run, predicted, times_of
from autovid.studies.by_training import Rival, Trainer, find_rival, range_around, search_by_training
from autovid.studies.comparison import Comparison, Entry
from autovid.studies.measured import MeasuredNetwork, measured_network, open_measured
from autovid.studies.rank import Ranking, rank
from autovid.studies.supernet import PartSupernet, open_supernet
from autovid.studies.tabular import TableEvaluator, load_benchmark, search_by_table

__all__ = [
    "Bench",
    "BenchRow",
    "BenchSettings",
    "Comparison",
    "Entry",
    "MeasuredNetwork",
    "PartSupernet",
    "Ranking",
    "Rival",
    "TableEvaluator",
    "Trainer",
    "block_run",
    "find_rival",
    "load_benchmark",
    "measure_blocks",
    "measured_network",
    "network_run",
    "notes",
    "open_measured",
    "open_supernet",
    "predicted",
    "range_around",
    "rank",
    "search_by_table",
    "search_by_training",
    "tables",
    "times_of",
    "write_bench",
]
