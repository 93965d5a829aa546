"""Loader of programs of torch.export that may come from anybody.

`torch.export.load` unpickles what a file asks it to, loads compiled libraries out of it, and evaluates its formulas for
sizes as Python. Files of ours need none of this: their weights are plain bytes, their operations aten's, their sizes
products and sums. So a file is looked through first, and one that has anything else is refused. What is left can still
compute nonsense, for as long and in as much memory as it likes.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from autovid.errors import ConfigError

PLAIN = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt)"
)
OPERATION = re.compile(r"torch\.ops\.aten\.(?!from_file)\w+\.\w+|_operator\.(mul|add|sub|floordiv|mod|neg|getitem)")
SIZE = re.compile(r"(Symbol\('s\d+', (positive=True, )?integer=True\)|Integer|Mul|Add|Pow|FloorDiv|[-(), \d])+")


def load_program(file: Path) -> torch.export.ExportedProgram:
    """Load the program in a .pt2 file. Raises ConfigError where it is none, or could run code when it is read."""
    try:
        with zipfile.ZipFile(file) as archive:
            odd = next(_odd(archive), None)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, RecursionError) as error:
        raise ConfigError(f"{file} is no program of torch.export that can be read: {error}") from error
    if odd is not None:
        raise ConfigError(f"{file} is refused: it holds {odd}, and to read that could run code")
    try:
        return torch.export.load(file)
    except Exception as error:  # torch raises whatever a damaged file leads it to
        raise ConfigError(f"{file} is no program that this torch can read ({type(error).__name__})") from error


def _odd(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield things that a file of ours would not have."""
    for entry in archive.infolist():
        if not PLAIN.fullmatch(entry.filename):
            yield entry.filename
        if entry.filename.endswith(".pt") and entry.file_size:
            yield f"a pickle, {entry.filename}"
        if entry.filename.endswith("_config.json"):
            for name, payload in json.loads(archive.read(entry))["config"].items():
                if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
                    yield f"a pickle, {name}"
        if entry.filename.endswith("/model.json"):
            yield from _odd_graph(json.loads(archive.read(entry)))


def _odd_graph(model: dict[str, Any]) -> Iterator[str]:
    if model["guards_code"]:
        yield f"a condition, {model['guards_code'][0]}"
    for key, value in _pairs(model):
        if key == "target" and not (isinstance(value, str) and OPERATION.fullmatch(value)):
            yield f"an operation, {value}"
        if key == "expr_str" and not (isinstance(value, str) and SIZE.fullmatch(value)):
            yield f"a size, {value}"


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at whatever depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _pairs(value)
    elif isinstance(content, list):
        for value in content:
            yield from _pairs(value)
