"""Checks that anybody can run on a strategy or an operation of their own."""

from autovid.testing.strategy import check_strategy, small_problem

__all__ = ["check_strategy", "small_problem"]
