"""The tensors in a checkpoint of another toolkit, read without running any code that may be in it."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from autovid.errors import ConfigError
from autovid.weights.name_table import Names

WRAPPERS = ("model_state", "state_dict")  # where a checkpoint has its weights, beside the optimizer's state and more
PREFIXES = r"^((module|state_dict)\.)+"  # of data parallel training, and of networks in networks


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The weights and statistics in a safetensors file or one of `torch.save`, by name.

    Wrappers and prefixes are taken off, and the counters of batch norms left out: nothing depends on them.
    Raises ConfigError where there are none, and where reading would run code.
    """
    content = _read(file)
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"{file} holds no weights by name, neither directly nor as {' or '.join(WRAPPERS)}")
    if odd := [n for n, value in content.items() if not (isinstance(n, str) and isinstance(value, Tensor))]:
        raise ConfigError(f"{file} holds something else among its weights: {odd[0]}")
    tensors = renamed(content, ((PREFIXES, ""),), file)
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def renamed(tensors: Mapping[str, Tensor], rules: Names, file: str | Path) -> dict[str, Tensor]:
    """The tensors by names to which the rules have been applied. Raises ConfigError where two come to have one name."""
    found: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = old
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in found:
            raise ConfigError(f"{file} holds {name} twice, once as {old}")
        found[name] = tensor
    return found


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it may not understand; then it raises
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds more than tensors ({found[1]})" if found else "it is not what torch.save writes of tensors"
        raise ConfigError(
            f"{file} is refused: {what}, and to read it could run code. If you trust it, "
            "save its weights alone with the toolkit that made it"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # torch and safetensors raise whatever a damaged file leads them to
        raise ConfigError(f"{file} is no checkpoint that can be read ({type(error).__name__})") from None
