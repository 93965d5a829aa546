"""Folders that stand alone, for other programs, and predictions with them."""

from autovid.export.classifier import VideoClassifier, open_classifier
from autovid.export.following import follow
from autovid.export.manifest import FILES
from autovid.export.package import write_export
from autovid.export.prediction import predict
from autovid.export.source import find_source

__all__ = [
    "FILES",
    "VideoClassifier",
    "find_source",
    "follow",
    "open_classifier",
    "predict",
    "write_export",
]
