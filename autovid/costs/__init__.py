"""Costs of networks: tables over a space of what an architecture uses up. Counting by a run: count.py."""

from autovid.costs.cost import COSTS, Cost, Macs, Memory, Params, cost_names, kept_files, make_cost, recorded_costs
from autovid.costs.latency import Latency, LatencyFile, latency_table, read_latency_file
from autovid.space.space import GFLOPS, MacsTable, convention, gflops

__all__ = [
    "COSTS",
    "GFLOPS",
    "Cost",
    "Latency",
    "LatencyFile",
    "Macs",
    "MacsTable",
    "Memory",
    "Params",
    "convention",
    "cost_names",
    "gflops",
    "kept_files",
    "latency_table",
    "make_cost",
    "read_latency_file",
    "recorded_costs",
]
