"""Pictures of what networks do."""

from autovid.report.cam import METHODS, ActivationMap, activation_map
from autovid.report.filmstrip import Row, filmstrip_png, write_film
from autovid.report.subject import Subject, open_files, open_run

__all__ = [
    "METHODS",
    "ActivationMap",
    "Row",
    "Subject",
    "activation_map",
    "filmstrip_png",
    "open_files",
    "open_run",
    "write_film",
]
