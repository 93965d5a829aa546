"""The only reader and writer of YAML: small, strict, typed, and precise about the line of a mistake."""

from autovid.config.document import (
    Document,
    Layers,
    dump_yaml,
    load_yaml,
    parse_yaml,
    plain_document,
    read_layers,
    read_yaml,
    read_yaml_text,
)
from autovid.config.resources import check_command, find_experiment, list_experiments

__all__ = [
    "Document",
    "Layers",
    "check_command",
    "dump_yaml",
    "find_experiment",
    "list_experiments",
    "load_yaml",
    "parse_yaml",
    "plain_document",
    "read_layers",
    "read_yaml",
    "read_yaml_text",
]
