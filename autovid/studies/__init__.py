"""Studies of many networks: benchmarks, rankings, sweeps, the random baseline."""

from autovid.studies.bench import Bench, BenchSettings, Figures
from autovid.studies.bench_files import notes, tables, write_bench
from autovid.studies.block_latency import block_run, measure_blocks, network_run, predicted, times_of
from autovid.studies.candidates import Candidate, candidate_of, open_candidate
from autovid.studies.comparison import Comparison, Entry
from autovid.studies.random_baseline import Rival, Trainer, find_rival, random_baseline, range_around
from autovid.studies.rank import Ranking, rank
from autovid.studies.supernet import Supernet, open_supernet

__all__ = [
    "Bench",
    "BenchSettings",
    "Candidate",
    "Comparison",
    "Entry",
    "Figures",
    "Ranking",
    "Rival",
    "Supernet",
    "Trainer",
    "block_run",
    "candidate_of",
    "find_rival",
    "measure_blocks",
    "network_run",
    "notes",
    "open_candidate",
    "open_supernet",
    "predicted",
    "random_baseline",
    "range_around",
    "rank",
    "tables",
    "times_of",
    "write_bench",
]
