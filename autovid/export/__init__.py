"""What leaves for other programs, and what comes from them: folders that stand alone, weights of other toolkits."""

from autovid.export.formats import FORMATS
from autovid.export.importing import Imported, import_weights
from autovid.export.manifest import FILES
from autovid.export.package import write_export
from autovid.export.predict import predict
from autovid.export.runtime import Classifier, open_classifier
from autovid.export.subject import find_subject

__all__ = [
    "FILES",
    "FORMATS",
    "Classifier",
    "Imported",
    "find_subject",
    "import_weights",
    "open_classifier",
    "predict",
    "write_export",
]
