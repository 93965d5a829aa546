"""The search: PARSEC's prior over architectures, the costs in its loss, the parts, derivation."""

from autovid import callable_package
from autovid.search.constraints import Constraint, PartConstraint, read_constraints
from autovid.search.derive import Searched, derive, read_search
from autovid.search.part_ranges import parse_constraints, resolve_part_ranges
from autovid.search.run import Found, search
from autovid.search.settings import SearchSettings, settings_for
from autovid.search.task import SearchTask

__all__ = [
    "Constraint",
    "Found",
    "PartConstraint",
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

callable_package(__name__)
