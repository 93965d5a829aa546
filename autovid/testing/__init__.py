"""Conformance checks of extensions: call one in a test of your own."""

from autovid.testing.blocks import check_block, check_operation
from autovid.testing.strategy import check_strategy, small_problem

__all__ = ["check_block", "check_operation", "check_strategy", "small_problem"]
