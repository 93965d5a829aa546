"""Weights of a network from a file of their own: safetensors, with the options that they need in its header."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autovid.errors import ConfigError
from autovid.models.builder import inherit_state
from autovid.models.network import Network

# The layer that has a row for every class; S2DNet has two.
HEAD = re.compile(r"^((synopsis|detail)\.)?(classifier|sites\.classifier\.output)\.")


def load_weights(net: Network, file: str | Path, *, new_head: bool = False) -> None:
    """Load the weights of a file of `Imported.save`, or of a checkpoint's model.safetensors, into `net`.

    With `new_head` all but the classifier's, which stays as it is.
    Raises ConfigError where the file cannot be read, is of another network, or of one with other options.
    """
    state, header = _read(file)
    name = net.spec.network if net.spec else type(net).__name__
    mine = net.state_dict()
    if new_head:
        kept = {name: value for name, value in mine.items() if HEAD.match(name)}
        state = {name: value for name, value in state.items() if not HEAD.match(name)} | kept
    odd = sorted(mine.keys() ^ state.keys()) or [n for n in mine if mine[n].shape != state[n].shape]
    if odd:
        hint = "; give --new-head for other classes" if all(HEAD.match(name) for name in odd) else ""
        difference = _difference(mine.get(odd[0]), state.get(odd[0]))
        raise ConfigError(f"{file} is not of {name}: {odd[0]} {difference}{hint}")
    check_finite(state, file)
    options = net.spec.options if net.spec else {}
    for option, value in json.loads(header.get("needs", "{}")).items():
        if options.get(option) != value:
            raise ConfigError(f"{file} is of {name} with option {option}={json.dumps(value)}; build it with that")
    net.load_state_dict(state)


def inherit_weights(net: Network, file: str | Path, *, new_head: bool = False) -> None:
    """Load into the network of an architecture its part of a supernet's weights, a checkpoint's model.safetensors.

    With `new_head` all but the classifier's, which stays as it is. Raises ConfigError where the file cannot be read.
    """
    state, _ = _read(file)
    check_finite(state, file)
    inherit_state(net, {name: value for name, value in state.items() if not (new_head and HEAD.match(name))})


def nesting(net: Network, file: str | Path) -> str:
    """Say what `net` takes from a file by `inherit_weights`. Raises ConfigError where that is less than a half."""
    state, _ = _read(file)
    mine = {name: value for name, value in net.state_dict().items() if not HEAD.match(name)}
    shared = [name for name in mine if name in state and state[name].dim() == mine[name].dim()]
    if len(shared) < len(mine) / 2:
        raise ConfigError(f"{file} has {len(shared)} of {len(mine)} tensors of this network: it is of another kind")
    parts = sum(state[name].shape != mine[name].shape for name in shared)
    return f"{len(shared)} of {len(mine)} tensors come from {file}, {parts} of them cut or widened"


def classes_in(file: str | Path) -> int | None:
    """Return the number of classes of a file's classifier; None where it has none. Raises ConfigError."""
    state, _ = _read(file)
    return next((len(value) for name, value in state.items() if HEAD.match(name)), None)


def _read(file: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file and its header."""
    try:
        with safe_open(file, "pt") as opened:
            header = opened.metadata() or {}
        return safetensors.torch.load_file(file), header
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{file} is no safetensors file that can be read: {error}") from error


def check_finite(state: Mapping[str, Tensor], file: str | Path) -> None:
    """Raise ConfigError for weights that no network computes with."""
    for name, value in state.items():
        if not value.isfinite().all():
            raise ConfigError(f"{file}: {name} holds values that are not finite; the training that wrote it diverged")


def _difference(mine: Tensor | None, theirs: Tensor | None) -> str:
    if mine is None or theirs is None:
        return "is missing there" if theirs is None else "is unknown here"
    return f"is {tuple(theirs.shape)} there and {tuple(mine.shape)} here"
