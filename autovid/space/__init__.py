"""Search spaces and architectures: data about networks, without any network."""

from autovid.space.layout import Decision
from autovid.space.load import list_spaces, load_architecture, load_space
from autovid.space.space import Architecture, SearchSpace

__all__ = ["Architecture", "Decision", "SearchSpace", "list_spaces", "load_architecture", "load_space"]
