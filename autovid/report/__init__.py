"""Reports of runs, drawings of networks, and maps of what they look at."""

from autovid.report.cam import METHODS, ActivationMap, LabelledNetwork, activation_map, labelled, open_files, open_run
from autovid.report.filmstrip import MapRow, filmstrip_png, write_film

__all__ = [
    "METHODS",
    "ActivationMap",
    "LabelledNetwork",
    "MapRow",
    "activation_map",
    "filmstrip_png",
    "labelled",
    "open_files",
    "open_run",
    "write_film",
]
