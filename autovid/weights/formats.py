"""The formats that weights are read from, and how one is told from another."""

import re
from collections.abc import Mapping

from torch import Tensor

from autovid.errors import ConfigError
from autovid.weights.mmaction import MMACTION2
from autovid.weights.name_table import Format
from autovid.weights.repositories import TDN, TSM
from autovid.weights.slowfast import PYSLOWFAST, PYTORCHVIDEO
from autovid.weights.torchvision import IBM, TORCHVISION

# A checkpoint of IBM's TSN is written exactly like an image network of torchvision, and read as one, to the same end.
FORMATS = {
    "pyslowfast": Format("PySlowFast", r"^s1\.pathway0_stem\.", PYSLOWFAST),
    "pytorchvideo": Format("pytorchvideo", r"^blocks\.0\.(conv|multipathway_blocks)\.", PYTORCHVIDEO),
    "mmaction2": Format("MMAction2", r"^backbone\.", MMACTION2),
    "tdn": Format("the repository of TDN", r"^base_model\.conv1_5\.", TDN, extras=r"^base_model\.conv1_temp1\."),
    "tsm": Format(
        "the repository of TSM",
        r"^base_model\.(conv1|features\.0)\.",
        TSM,
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


def detect(tensors: Mapping[str, Tensor], where: str) -> str:
    """The name of the format that these tensors are in: the first whose sign one of them bears. Raises ConfigError."""
    signs = [f"{name}:{tensor.dim()}" for name, tensor in tensors.items()]
    for name, form in FORMATS.items():
        if any(re.search(form.sign, sign) for sign in signs):
            return name
    few = ", ".join(list(tensors)[:3])
    raise ConfigError(f"{where} is in none of the formats {', '.join(FORMATS)}: its first tensors are {few}")
