"""Costs of networks: MACs and parameters, and latency by a measured table."""

from autovid.costs.cost import COSTS, Cost, cost_class, cost_names, make_cost, recorded_costs
from autovid.costs.count import Count, Stage, count, count_stages
from autovid.costs.latency import Latency, LatencyFile, latency_table, read_latency_file
from autovid.costs.macs import Macs
from autovid.costs.verify import Verification, verify
from autovid.space.site_table import GFLOPS, MacsTable, convention, gflops

__all__ = [
    "COSTS",
    "GFLOPS",
    "Cost",
    "Count",
    "Latency",
    "LatencyFile",
    "Macs",
    "MacsTable",
    "Stage",
    "Verification",
    "convention",
    "cost_class",
    "cost_names",
    "count",
    "count_stages",
    "gflops",
    "latency_table",
    "make_cost",
    "read_latency_file",
    "recorded_costs",
    "verify",
]
