"""Search spaces and architectures: data about networks, without any network."""

from autovid.space.architecture import Architecture, load_architecture
from autovid.space.load import list_spaces, load_space
from autovid.space.space import Decision, SearchSpace

__all__ = ["Architecture", "Decision", "SearchSpace", "list_spaces", "load_architecture", "load_space"]
