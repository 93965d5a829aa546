"""Blocks that can stand in a searched network."""
