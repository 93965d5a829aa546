"""What networks cost, in closed form, and what can be solved on it."""

from autovid.cost.count import Count, Stage, count, count_stages
from autovid.cost.distribution import Probability, probability_in_range
from autovid.cost.draw import sample_in_range
from autovid.cost.factors import MacsTable, convention, macs_table
from autovid.cost.range import CostRange, gflops, parse_gflops
from autovid.cost.solve import Solution, in_order_of_probability, most_probable
from autovid.cost.table import CostTable, Factor

__all__ = [
    "CostRange",
    "CostTable",
    "Count",
    "Factor",
    "MacsTable",
    "Probability",
    "Solution",
    "Stage",
    "convention",
    "count",
    "count_stages",
    "gflops",
    "in_order_of_probability",
    "macs_table",
    "most_probable",
    "parse_gflops",
    "probability_in_range",
    "sample_in_range",
]
