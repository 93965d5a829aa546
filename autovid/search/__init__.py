"""The search: PARSEC's prior over architectures, the cost in its loss, the parts, derivation."""

from autovid.search.derive import Searched, derive, read_search
from autovid.search.feasibility import check, settle
from autovid.search.part_targets import Target
from autovid.search.run import Found, search
from autovid.search.settings import SearchSettings, settings_for
from autovid.search.task import SearchTask

__all__ = [
    "Found",
    "SearchSettings",
    "SearchTask",
    "Searched",
    "Target",
    "check",
    "derive",
    "read_search",
    "search",
    "settings_for",
    "settle",
]
