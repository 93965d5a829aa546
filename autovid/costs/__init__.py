"""What networks cost: MACs and parameters, and latency by a measured table."""

from autovid.costs.count import Count, Stage, count, count_stages
from autovid.costs.latency import LatencyFile, LatencyRange, latency_table, read_latency_file
from autovid.costs.macs import MacsTable, convention, macs_table
from autovid.costs.verify import Verification, verify

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
    "macs_table",
    "read_latency_file",
    "verify",
]
