"""Conformance checks of extensions: call one in a test of your own."""

from autovid.testing.blocks import check_block, check_operation

__all__ = ["check_block", "check_operation"]
