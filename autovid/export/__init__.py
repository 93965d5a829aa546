"""What leaves for other programs, and what comes from them: weights of other toolkits."""

from autovid.export.formats import FORMATS
from autovid.export.importing import Imported, import_weights

__all__ = ["FORMATS", "Imported", "import_weights"]
