"""What networks cost, in closed form, and what can be solved on it."""

from autovid.cost.count import Count, Stage, count, count_stages
from autovid.cost.distribution import Probability, probability_in_range
from autovid.cost.draw import sample_in_range
from autovid.cost.factors import MacsTable, convention, macs_table
from autovid.cost.joint import Limit, most_probable_within, sample_within
from autovid.cost.latency import LatencyFile, LatencyRange, latency_table, read_latency_file
from autovid.cost.range import GFLOPS, MILLISECONDS, CostRange, gflops, parse_gflops
from autovid.cost.solve import Solution, in_order_of_probability, most_probable
from autovid.cost.table import CostTable, Factor
from autovid.cost.verify import Verification, verify

__all__ = [
    "GFLOPS",
    "MILLISECONDS",
    "CostRange",
    "CostTable",
    "Count",
    "Factor",
    "LatencyFile",
    "LatencyRange",
    "Limit",
    "MacsTable",
    "Probability",
    "Solution",
    "Stage",
    "Verification",
    "convention",
    "count",
    "count_stages",
    "gflops",
    "in_order_of_probability",
    "latency_table",
    "macs_table",
    "most_probable",
    "most_probable_within",
    "parse_gflops",
    "probability_in_range",
    "read_latency_file",
    "sample_in_range",
    "sample_within",
    "verify",
]
