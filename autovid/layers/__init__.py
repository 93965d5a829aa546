"""Layers of hand-designed networks: convolutions, and modules of published ideas."""
