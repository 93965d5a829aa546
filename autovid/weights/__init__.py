"""Weights of other toolkits for our networks."""

from autovid.weights.importing import FORMATS, Imported, import_weights

__all__ = [
    "FORMATS",
    "Imported",
    "import_weights",
]
