"""Folders that stand alone, for other programs, and predictions with them."""

from autovid.export.manifest import FILES
from autovid.export.package import write_export
from autovid.export.predict import predict
from autovid.export.runtime import Classifier, open_classifier
from autovid.export.subject import find_subject

__all__ = [
    "FILES",
    "Classifier",
    "find_subject",
    "open_classifier",
    "predict",
    "write_export",
]
