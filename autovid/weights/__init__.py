"""Weights of other toolkits for our networks."""

from autovid.weights.checkpoint import FORMATS
from autovid.weights.importing import Imported, import_weights

__all__ = [
    "FORMATS",
    "Imported",
    "import_weights",
]
