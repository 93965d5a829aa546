"""What networks cost: MACs and parameters, and latency by a measured table."""

from autovid.costs.count import Count, Stage, count, count_stages
from autovid.costs.latency import LatencyFile, LatencyRange, latency_table, read_latency_file
from autovid.costs.verify import Verification, verify
from autovid.space.site_table import MacsTable, convention

__all__ = [
    "Count",
    "LatencyFile",
    "LatencyRange",
    "MacsTable",
    "Stage",
    "Verification",
    "convention",
    "count",
    "count_stages",
    "latency_table",
    "read_latency_file",
    "verify",
]
