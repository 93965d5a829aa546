"""Layers of hand-designed networks: one file a published idea, and convolutions."""
