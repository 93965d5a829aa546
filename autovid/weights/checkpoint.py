"""Checkpoints of other toolkits: their tensors, read without running any code in them, and their formats."""

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
from autovid.weights.image_toolkits import IBM, TDN_CODE, TORCHVISION, TSM_CODE
from autovid.weights.name_table import Format, Names
from autovid.weights.video_toolkits import MMACTION2, PYSLOWFAST, PYTORCHVIDEO

WRAPPERS = ("model_state", "state_dict")  # keys of the weights, beside the optimizer's state and more
PREFIXES = r"^((module|state_dict)\.)+"  # of data parallel training, and of networks in networks


# A checkpoint of IBM's TSN is written exactly like an image network of torchvision, and read as one, to the same end.
FORMATS = {
    "pyslowfast": Format("PySlowFast", r"^s1\.pathway0_stem\.", PYSLOWFAST),
    "pytorchvideo": Format("pytorchvideo", r"^blocks\.0\.(conv|multipathway_blocks)\.", PYTORCHVIDEO),
    "mmaction2": Format("MMAction2", r"^backbone\.", MMACTION2),
    "tdn": Format("the repository of TDN", r"^base_model\.conv1_5\.", TDN_CODE, extras=r"^base_model\.conv1_temp1\."),
    "tsm": Format(
        "the repository of TSM",
        r"^base_model\.(conv1|features\.0)\.",
        TSM_CODE,
        renames=((r"^base_model\.(fc|classifier)\.", "new_fc."),),
    ),
    "ibm": Format(
        "IBM's action-recognition-pytorch", r"tam\w*\.(prev|curr|next)_se\.fc1\.|^conv1\.(conv\.)?weight:5$", IBM
    ),
    "torchvision": Format(
        "torchvision",
        r"^(conv1\.(conv\.)?|features\.0\.0\.)weight:4$",
        TORCHVISION,
        extras=r"^aux[12]\.",
        images=True,
    ),
}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the weights and statistics in a safetensors file or one of `torch.save`, by name.

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
    """Apply rules to the names of tensors. Raises ConfigError where two get one name."""
    result: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = old
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in result:
            raise ConfigError(f"{file} holds {name} twice, once as {old}")
        result[name] = tensor
    return result


def detect(tensors: Mapping[str, Tensor], where: str) -> str:
    """Return the name of the tensors' format: the first whose sign one of them has. Raises ConfigError."""
    signs = [f"{name}:{tensor.dim()}" for name, tensor in tensors.items()]
    for name, form in FORMATS.items():
        if any(re.search(form.sign, sign) for sign in signs):
            return name
    few = ", ".join(list(tensors)[:3])
    raise ConfigError(f"{where} is in none of the formats {', '.join(FORMATS)}: its first tensors are {few}")


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it may not understand; then it raises
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds more than tensors ({match[1]})" if match else "it is not what torch.save writes of tensors"
        raise ConfigError(
            f"{file} is refused: {what}, and to read it could run code. If you trust it, "
            "save its weights alone with the toolkit that made it"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # torch and safetensors raise whatever a damaged file leads them to
        raise ConfigError(f"{file} is no checkpoint that can be read ({type(error).__name__})") from None
