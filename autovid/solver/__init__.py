"""Solving on cost tables: ranges, the most probable architecture inside them, draws from them. Numpy alone."""

from autovid.solver.constrained_sampling import sample_in_range
from autovid.solver.cost_range import UNLIMITED, CostRange, Quantity
from autovid.solver.distribution import Posterior, Probability, posterior_in_range, probability_in_range
from autovid.solver.several_constraints import most_probable_within, sample_within
from autovid.solver.solve import Solution, in_order_of_probability, most_probable
from autovid.solver.table import CostTable, Factor, TableConstraint

__all__ = [
    "UNLIMITED",
    "CostRange",
    "CostTable",
    "Factor",
    "Posterior",
    "Probability",
    "Quantity",
    "Solution",
    "TableConstraint",
    "in_order_of_probability",
    "most_probable",
    "most_probable_within",
    "posterior_in_range",
    "probability_in_range",
    "sample_in_range",
    "sample_within",
]
