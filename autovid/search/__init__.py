"""The search: strategies, the supernet and its training, constraints, parts, derivation."""

import importlib
from typing import TYPE_CHECKING, Any

from autovid import callable_package

if TYPE_CHECKING:
    from autovid.search.constraints import Constraint, PartConstraint, read_constraints
    from autovid.search.derivation import Searched, derive, read_search
    from autovid.search.part_ranges import parse_constraints, resolve_part_ranges
    from autovid.search.run import SearchResult, search
    from autovid.search.settings import SearchSettings, settings_for
    from autovid.search.task import SearchTask

__all__ = [
    "Constraint",
    "PartConstraint",
    "SearchResult",
    "SearchSettings",
    "SearchTask",
    "Searched",
    "derive",
    "parse_constraints",
    "read_constraints",
    "read_search",
    "resolve_part_ranges",
    "search",
    "settings_for",
]

_HOMES = {
    "Constraint": "constraints",
    "SearchResult": "run",
    "PartConstraint": "constraints",
    "SearchSettings": "settings",
    "SearchTask": "task",
    "Searched": "derivation",
    "derive": "derivation",
    "parse_constraints": "part_ranges",
    "read_constraints": "constraints",
    "read_search": "derivation",
    "resolve_part_ranges": "part_ranges",
    "search": "run",
    "settings_for": "settings",
}

callable_package(__name__)


def __getattr__(name: str) -> Any:
    """Load what is asked for on first use, so that the strategies can be listed without torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"autovid.search.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'autovid.search' has no attribute {name!r}")
